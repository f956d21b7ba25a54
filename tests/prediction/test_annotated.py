# SPDX-License-Identifier: Apache-2.0
"""Videos with their answers drawn into them."""

import io

import av
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.prediction import annotated
from flatten_jax.prediction.results import Prediction
from flatten_jax.prediction.timelines import Timeline
from tests.support.video_maker import moving_square, write_video

NAMES = ('one', 'a much longer name of a class', '日本', '$x_1$')


def prediction(**changes):
  values = dict(
    video='a.mp4',
    class_names=NAMES,
    probabilities=np.array([0.7, 0.2, 0.06, 0.04], np.float32),
  )
  return Prediction(**values | changes)


def shade(images):
  level = images.mean((1, 2, 3))[:, None]
  return 9 * level * np.array([[1.0, -1.0]])


def frames_of(path):
  with av.open(str(path)) as file:
    return np.stack(
      [x.to_ndarray(format='rgb24') for x in file.decode(video=0)]
    )


@pytest.mark.parametrize('level', [0, 128, 255])
@pytest.mark.parametrize(
  'shape', [(84, 112), (1080, 1920), (640, 360), (16, 16)]
)
def test_letters_can_be_read_on_any_background(level, shape):
  plain = np.full((*shape, 3), level, np.uint8)
  drawn = annotated.draw(plain.copy(), 'walking 93%')
  changed = (drawn != plain).any(-1)
  rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
  assert len(rows) and len(columns)
  if shape[0] > 50:
    # At the bottom left, where black on black is not seen to begin.
    assert columns[0] < shape[1] / 3 and rows[-1] > 0.9 * shape[0] - 3
    assert rows[0] >= shape[0] / 3
    # White letters; what is behind them is less than half as light.
    box = drawn[rows[0] :, : columns[-1] + 1]
    assert box.max() > 230 and np.median(box) < 110


def test_long_texts_are_broken_and_cut_inside_of_the_frame():
  plain = np.zeros((84, 112, 3), np.uint8)
  text = '\n'.join(f'{"word" * 6} {i}' for i in range(9))
  drawn = annotated.draw(plain.copy(), text)
  assert (drawn[:10] == 0).all()  # Four lines at most.
  assert (drawn[:, -1] < 100).all()  # No letter is cut at the side.


def test_captions_are_the_answer_or_that_of_the_window():
  text = annotated.captions(prediction())
  assert text(0.0) == text(99.0) == 'one 70%'
  rows = np.array([[0.1, 0.9, 0, 0], [0.6, 0.4, 0, 0]], np.float32)
  seconds = np.array([[0.0, 0.5], [0.5, 1.0]])
  timeline = Timeline(seconds, rows, NAMES, np.zeros((1, 4, 4, 3), np.uint8))
  text = annotated.captions(prediction(timeline=timeline))
  found = [text(seconds) for seconds in (0.0, 0.4999, 0.5, 7.0)]
  assert found == [f'{NAMES[1]} 90%'] * 2 + ['one 60%'] * 2


def test_captions_of_several_labels_are_those_above_their_thresholds():
  text = annotated.captions(prediction(thresholds=(0.5, 0.1, 0.5, 0.5)))
  assert text(0.0) == f'one 70%\n{NAMES[1]} 20%'
  text = annotated.captions(prediction(thresholds=(0.9,) * 4))
  assert text(0.0) == 'no class'


def test_videos_are_written_with_the_answer_of_each_second(tmp_path):
  """Dark, then light: another class, and other letters, from 1 s on."""
  frames = np.full((50, 64, 96, 3), 30, np.uint8)
  frames[25:] = 220
  for name in ('a.mp4', 'below/b.mkv'):
    write_video(tmp_path / 'in' / name, frames)
  found = fj.predict(
    shade,
    tmp_path / 'in',
    timeline=True,
    window=0.5,
    annotate=True,
    out=tmp_path / 'out',
    num_frames=4,
    crop=16,
    class_names=['light', 'dark'],
  )
  paths = [tmp_path / 'out/annotated' / x for x in ('a.mp4', 'below/b.mkv.mp4')]
  for answer, path in zip(found, paths, strict=True):
    drawn = frames_of(path).astype(int)
    text = annotated.captions(answer)
    assert [text(0.5), text(1.5)] == ['dark 100%', 'light 100%']
    assert drawn.shape == frames.shape
    assert np.abs(drawn - frames)[:, :30].max() < 12  # Nothing above it.
    for number in (0, 24, 25, 49):
      image = frames[number].copy()
      expected = annotated.draw(image, text(number / 25)).astype(int)
      assert np.abs(drawn[number] - expected).mean() < 3
    letters = [drawn[i, 45:] > 200 for i in (5, 20)]
    assert (letters[0] == letters[1]).mean() > 0.98


def test_a_stream_and_frames_are_written_too(tmp_path):
  path = write_video(tmp_path / 'a.mp4', moving_square(10, 48, 64))
  fj.predict(
    shade,
    [io.BytesIO(path.read_bytes()), moving_square(6, 48, 64)],
    annotate=True,
    out=tmp_path / 'out',
    num_frames=4,
    crop=16,
    class_names=['a', 'b'],
  )
  found = sorted((tmp_path / 'out' / 'annotated').iterdir())
  assert [path.name for path in found] == ['frames.mp4', 'stdin.mp4']
  assert [len(frames_of(path)) for path in found] == [6, 10]


def test_names_of_any_length_and_bytes_stop_nothing(tmp_path, caplog):
  caplog.set_level('WARNING', 'flatten_jax')
  longest = 'l' * 251  # With a suffix, as long as a name can be.
  for name in ('a.mp4', f'{longest}.mp4', f'{longest}.avi', 'z.mp4'):
    write_video(tmp_path / 'in' / name[-9:], moving_square(10, 48, 64))
    (tmp_path / 'in' / name[-9:]).rename(tmp_path / 'in' / name)
  found = fj.predict(
    shade,
    tmp_path / 'in',
    timeline=True,
    annotate=True,
    out=tmp_path / 'out',
    num_frames=4,
    crop=16,
    class_names=['a', 'caf\udce9'],  # Not UTF-8.
  )
  assert [bool(prediction.error) for prediction in found] == [False] * 4
  written = {path.name for path in (tmp_path / 'out/annotated').iterdir()}
  assert written == {'a.mp4', f'{longest}.mp4', 'z.mp4'}
  assert {path.stem for path in (tmp_path / 'out/timelines').iterdir()} == {
    'a.mp4',
    'z.mp4',
  }
  assert caplog.text.count(' is too long for files that add to it') == 3
  table = (tmp_path / 'out' / 'predictions.csv').read_text()
  assert len(table.splitlines()) == 5 and 'caf\\udce9' in table


@pytest.mark.parametrize('written', [True, False])
def test_the_folder_is_named_if_a_video_is_in_it(tmp_path, caplog, written):
  caplog.set_level('INFO', 'flatten_jax')
  path = write_video(tmp_path / 'a.mp4', moving_square(10, 48, 64))
  if not written:
    path.write_bytes(b'no video')
  fj.predict(
    shade, path, annotate=True, out=tmp_path / 'out', num_frames=4, crop=16
  )
  assert ('Annotated videos are in' in caplog.text) == written
  assert (tmp_path / 'out/annotated').exists() == written


def test_the_videos_need_a_folder():
  with pytest.raises(ValueError, match='annotate=True needs out=FOLDER'):
    fj.predict(shade, moving_square(4), annotate=True, num_frames=4, crop=16)
