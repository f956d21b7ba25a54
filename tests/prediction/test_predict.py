# SPDX-License-Identifier: Apache-2.0
"""Videos of every kind go in, one line for each comes out."""

import csv
import io
import json
import shutil

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.evaluation.metrics import Predictions
from flatten_jax.prediction import predict
from flatten_jax.runtime import callables
from tests.support import small_run
from tests.support.video_maker import moving_square, write_frames, zip_frames


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """run/ and clips/, and own/: videos of ours, two of them broken."""
  folder = tmp_path_factory.mktemp('predict')
  small_run.make(folder)
  clips = sorted((folder / 'clips' / 'test').rglob('*.mp4'))
  own = folder / 'own'
  (own / 'below').mkdir(parents=True)
  shutil.copy(clips[0], own / 'b.mp4')
  shutil.copy(clips[1], own / 'below' / 'c.mp4')
  (own / 'a.mp4').write_bytes(clips[2].read_bytes()[:400])
  (own / 'empty.avi').touch()
  (own / 'notes.txt').write_text('not a video')
  return folder


def test_a_folder_gives_a_line_for_each_video_and_goes_on(
  folder, tmp_path, capsys
):
  found = fj.predict(folder / 'run', folder / 'own', out=tmp_path, show=True)
  names = [p.video for p in found]
  assert names == ['a.mp4', 'b.mp4', 'below/c.mp4', 'empty.avi']
  assert [bool(p.error) for p in found] == [True, False, False, True]
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == 4
  assert lines[3].split(maxsplit=1)[1] == 'cannot be read: the file is empty'
  assert lines[1] == found[1].line(len('below/c.mp4'))

  for prediction in found[1:3]:
    assert prediction.probabilities.sum() == pytest.approx(1)
    top = prediction.top()
    assert len(top) == 5 and top == sorted(top, key=lambda pair: -pair[1])
    assert f'{top[0][0]:<17} {100 * top[0][1]:5.1f} %' in prediction.line()
  content = json.loads((tmp_path / 'predictions.json').read_text())
  assert content['views'] == '16x4x1x1'
  assert content['videos'][0]['error'] == found[0].error
  assert content['videos'][1]['top'][0]['class'] == found[1].top()[0][0]
  with (tmp_path / 'predictions.csv').open() as file:
    rows = list(csv.DictReader(file))
  assert [row['video'] for row in rows] == names
  assert rows[2]['class_5'] == found[2].top()[4][0]
  assert rows[3]['error'] == 'the file is empty' and not rows[3]['class_1']


def test_what_was_found_is_kept_when_it_is_interrupted(
  folder, tmp_path, monkeypatch
):
  def interrupted(prediction, width):
    if prediction.video == 'b.mp4':
      raise KeyboardInterrupt

  monkeypatch.setattr(predict, 'say', interrupted)
  with pytest.raises(KeyboardInterrupt):
    fj.predict(folder / 'run', folder / 'own', out=tmp_path, show=True)
  content = json.loads((tmp_path / 'predictions.json').read_text())
  assert [video['video'] for video in content['videos']] == ['a.mp4', 'b.mp4']


def test_answers_are_those_of_the_evaluation(folder):
  fj.evaluate(None, folder / 'run', '3x2')
  scored = Predictions.load(folder / 'run' / 'predictions_test_3x2.npz')
  clips = folder / 'clips' / 'test'
  found = fj.predict(folder / 'run', clips, views='3x2')
  assert [p.video for p in found] == scored.ids.tolist()
  mean = scored.logits / 6
  np.testing.assert_allclose(
    np.stack([p.probabilities for p in found]),
    jax.nn.softmax(mean),
    atol=1e-5,
  )


def test_videos_are_seen_as_filmed_by_a_run_that_tests_them_reversed(
  folder, monkeypatch
):
  video = folder / 'own' / 'b.mp4'
  [expected] = fj.predict(folder / 'run', [video])
  trained = predict.load_config(folder / 'run')
  trained.eval_frame_order = 'reversed'
  monkeypatch.setattr(predict, 'load_config', lambda workdir: trained)
  [found] = fj.predict(folder / 'run', [video])
  np.testing.assert_array_equal(found.probabilities, expected.probabilities)


def test_a_stream_is_the_file_that_it_holds(folder):
  file = folder / 'own' / 'b.mp4'
  with file.open('rb') as stream:
    piped, named = fj.predict(folder / 'run', [stream, file])
  assert piped.video == 'stdin' and named.video == 'b.mp4'
  np.testing.assert_array_equal(piped.probabilities, named.probabilities)


@pytest.mark.parametrize('suffix', ['.jpg', '.PNG', '.webp', '.bmp'])
def test_a_photograph_is_a_clip_of_one_frame(folder, tmp_path, suffix):
  """The model's four frames repeat it; folders are not searched for any."""
  image, photo = moving_square(1)[0], tmp_path / f'photo{suffix}'
  cv2.imwrite(str(photo), image[..., ::-1])
  still = tmp_path / 'frames'
  still.mkdir()
  for number in range(4):
    shutil.copy(photo, still / f'img_{number}{suffix}')
  named, video = fj.predict(folder / 'run', [photo, still])
  assert named.video == photo.name and not named.error
  assert named.probabilities == pytest.approx(video.probabilities, abs=1e-5)
  shutil.rmtree(still)
  with pytest.raises(FileNotFoundError, match='photograph by its own name'):
    fj.predict(folder / 'run', tmp_path)


def test_folders_of_frames_are_videos(folder, tmp_path, caplog):
  frames = write_frames(tmp_path / 'all' / 'a' / 'v', moving_square(12))
  zip_frames(frames, tmp_path / 'all' / 'b.zip')
  found = fj.predict(folder / 'run', tmp_path / 'all', timeline=True)
  assert [p.video for p in found] == ['a/v', 'b.zip']
  assert caplog.text.count('25 frames per second') == 1
  assert found[0].timeline.segments()[-1][1] == pytest.approx(12 / 25)
  [alone] = fj.predict(folder / 'run', frames)
  stream = io.BytesIO((tmp_path / 'all' / 'b.zip').read_bytes())
  [piped] = fj.predict(folder / 'run', stream)
  assert (alone.video, piped.video) == ('v', 'stdin')
  for prediction in (found[1], alone, piped):
    assert prediction.top() == found[0].top()


def test_any_model_classifies_with_the_names_given():
  def redness(images):  # [B H W 3] -> [B 2]: more red, or more blue
    red, _, blue = jnp.moveaxis(images.mean((1, 2)), -1, 0)
    return 20 * jnp.stack([red, blue], -1)

  frames = np.zeros((9, 32, 48, 3), np.uint8)
  frames[..., 0] = 200
  stream = encoded(frames)
  for model in (redness, fj.Flattened(redness, 'row_major')):
    stream.seek(0)
    [found] = fj.predict(
      model, stream, class_names=['red', 'blue'], num_frames=9, crop=16
    )
    assert found.top(1)[0] == ('red', pytest.approx(1, abs=1e-3))


def encoded(frames: np.ndarray) -> io.BytesIO:
  import av

  stream = io.BytesIO()
  with av.open(stream, 'w', format='matroska') as file:
    video = file.add_stream('libx264', rate=25)
    video.height, video.width = frames.shape[1:3]
    video.pix_fmt = 'yuv420p'
    for pixels in frames:
      file.mux(video.encode(av.VideoFrame.from_ndarray(pixels)))
    file.mux(video.encode())
  stream.seek(0)
  return stream


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_scores_that_are_not_finite_are_no_answer(folder, tmp_path, value):
  def overflowing(images):  # [B H W 3] -> [B 3]
    return images.mean((1, 2)) * value

  video, inputs = folder / 'own' / 'b.mp4', {'num_frames': 4, 'crop': 16}
  options = {'timeline': True, 'annotate': True, 'out': tmp_path}
  [found] = fj.predict(overflowing, [video], **options, **inputs)
  assert found.error == 'the model gives no finite scores'
  assert found.line() == f'b.mp4  has no answer: {found.error}'
  assert (found.label, found.labels, found.timeline) == ('', [], None)
  text = (tmp_path / 'predictions.json').read_text()
  assert 'NaN' not in text
  assert json.loads(text)['videos'] == [{'video': 'b.mp4'} | found.to_json()]
  assert 'nan' not in (tmp_path / 'predictions.csv').read_text()
  assert not (tmp_path / 'annotated').exists()


@pytest.mark.parametrize(
  ('video', 'inputs', 'message'),
  [
    ('absent.mp4', {}, r'There is no video .*absent\.mp4'),
    ('empty', {}, r'contains no videos.*\.avi.*\.mp4'),
    ('own/b.mp4', {'every': 0.0}, r'more than 0 seconds.*every=0'),
    ('own/b.mp4', {'frames': 9}, r'takes no frames; .*num_frames'),
    ('own/b.mp4', {'class_names': ['x']}, r'has its own class names'),
    ('own/b.mp4', {'views': '7x7'}, r"Views '7x7' would be 7 crops, 7 clips"),
  ],
)
def test_what_cannot_be_is_said_plainly(folder, video, inputs, message):
  (folder / 'empty').mkdir(exist_ok=True)
  with pytest.raises((ValueError, OSError, TypeError), match=message):
    fj.predict(folder / 'run', folder / video, **inputs)


def test_a_video_that_cannot_be_read_is_an_entry_alone_and_among_others(folder):
  (alone,) = fj.predict(folder / 'run', folder / 'own/empty.avi')
  assert 'file is empty' in alone.error
  assert alone.top() == []


def test_an_empty_stream_and_a_wrong_number_of_names_are_refused(folder):
  with pytest.raises(ValueError, match='the stream was empty'):
    fj.predict(folder / 'run', io.BytesIO())
  with pytest.raises(ValueError, match=r'has 2 classes, .* has 3'):
    fj.predict(
      lambda images: images.mean((1, 2))[:, :2],
      folder / 'own',
      class_names=['a', 'b', 'c'],
    )


def test_a_callable_says_in_which_order_it_takes_channels(folder):
  video = folder / 'own' / 'b.mp4'
  mean_color = lambda images: 9 * images.mean((1, 2))  # noqa: E731
  inputs = {'num_frames': 4, 'crop': 16, 'mean': (0.1, 0.2, 0.3)}
  (bgr,) = fj.predict(mean_color, video, channels='bgr', **inputs)
  inputs['mean'] = inputs['mean'][::-1]
  (rgb,) = fj.predict(mean_color, video, **inputs)
  np.testing.assert_allclose(
    bgr.probabilities, rgb.probabilities[::-1], rtol=1e-5
  )


def test_a_model_of_the_library_brings_its_input_and_views(folder, caplog):
  """ViViT's twin: 4 clips and 3 crops of 32 px, from frames of 36."""
  video, model = folder / 'own' / 'b.mp4', fj.create_model('vivit_test', 3)
  loaded = callables.from_callable(model)
  data = loaded.config.data
  assert (data.num_frames, data.crop, data.test_short_side) == (4, 32, 36)
  assert loaded.views.count == 12 and loaded.config.mean == (0.5,) * 3
  with caplog.at_level('INFO'):
    (found,) = fj.predict(model, video)
  assert not found.error and 'assumed' not in caplog.text
  assert '3 crops, 4 clips of each video' in caplog.text


def test_a_callable_may_take_the_middle_of_larger_frames(folder):
  video = folder / 'own' / 'b.mp4'
  color = lambda images: 9 * images.mean((1, 2))  # noqa: E731
  inputs = {'num_frames': 1, 'crop': 16}
  (whole,) = fj.predict(color, video, **inputs)
  (middle,) = fj.predict(color, video, test_short_side=32, **inputs)
  assert np.abs(whole.probabilities - middle.probabilities).max() > 0


def test_real_clips_are_classified_or_named(folder, real_clips):
  found = fj.predict(
    folder / 'run', [real_clips / 'codecs', real_clips / 'broken']
  )
  files = [p for d in ('codecs', 'broken') for p in (real_clips / d).iterdir()]
  assert len(found) == len(files)
  broken = {p.video for p in found if p.error}
  assert 'codecs/empty_0byte.webm' in broken
  assert {'broken/random_bytes.mp4', 'broken/text_named.mp4'} <= broken
  assert len(broken) <= 12


def test_the_time_for_a_video_can_be_set_where_the_error_says(folder):
  video = folder / 'own' / 'b.mp4'
  [prediction] = fj.predict(folder / 'run', video, time_limit=1e-9)
  assert 'takes too long' in prediction.error
  assert '--time_limit' in prediction.error
  [prediction] = fj.predict(folder / 'run', video, time_limit=0)
  assert not prediction.error
  with pytest.raises(ValueError, match=r'data\.time_limit'):
    fj.predict(folder / 'run', video, time_limit=-1)
