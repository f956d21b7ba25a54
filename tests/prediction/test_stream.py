# SPDX-License-Identifier: Apache-2.0
"""Streams give the answers of timelines, a line each, with what was skipped."""

import json
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.prediction import stream_output
from flatten_jax.prediction.stream import WindowClassifier
from flatten_jax.runtime import callables
from tests.support.live_server import LiveServer, encode, shaded
from tests.support.video_maker import moving_square, write_video

NAMES = ['first', 'second', 'third', 'fourth']
INPUTS = dict(num_frames=4, crop=16, class_names=NAMES)


def shades(images):
  """Logits of flattened images [B 32 32 3]: the mean shade of each frame."""
  return 9 * images.reshape(-1, 2, 16, 2, 16, 3).mean((2, 4, 5)).reshape(-1, 4)


@pytest.fixture(scope='module')
def film(tmp_path_factory):
  path = tmp_path_factory.mktemp('stream') / 'a.mp4'
  return write_video(path, shaded(200), rate=25)


def probabilities(answers):
  return np.stack([answer.prediction.probabilities for answer in answers])


@pytest.mark.parametrize('window', [1.0, 3.0])
@pytest.mark.parametrize('sampling', ['segment', 'dense'])
def test_answers_are_the_rows_of_a_timeline(film, window, sampling):
  given = INPUTS | {'sampling': sampling, 'stride': 2}
  [whole] = fj.predict(shades, film, timeline=True, window=window, **given)
  answers = list(fj.stream(shades, film, window=window, **given))
  # Longer windows do not begin before the film, nor end after it.
  rows = whole.timeline.probabilities[int(window // 2) :][: len(answers)]
  assert len(answers) == 9 - window
  np.testing.assert_allclose(probabilities(answers), rows, atol=1e-5)
  assert len({answer.label for answer in answers}) > 1
  assert [a.start for a in answers] == pytest.approx(range(len(answers)))
  assert {a.end - a.start for a in answers} == {window}
  assert all(a.latency >= 0 and not a.skipped for a in answers)


def test_a_window_is_seen_in_the_crops_of_the_test(tmp_path):
  path = write_video(tmp_path / 'a.mp4', moving_square(75, 32, 64), rate=25)
  given = INPUTS | {'test_short_side': 32}
  found = []
  for views in ('1x1', '3x1'):
    answers = list(fj.stream(shades, path, window=1.0, views=views, **given))
    [whole] = fj.predict(
      shades, path, timeline=True, window=1.0, views=views, **given
    )
    rows = whole.timeline.probabilities
    np.testing.assert_allclose(probabilities(answers), rows, atol=1e-5)
    found.append(rows)
  assert np.abs(found[0] - found[1]).max() > 1e-3  # The crops differ.


def test_a_slow_model_skips_windows():
  def slow(images):
    def wait(value):
      time.sleep(0.3)
      return value

    shape = jax.ShapeDtypeStruct((len(images), 4), jnp.float32)
    return jax.pure_callback(wait, shape, shades(images))

  sent = encode(shaded(75), rate=50)
  with LiveServer(sent, rate=50) as server:
    answers = fj.stream(slow, server.url, every=0.1, window=0.1, **INPUTS)
    found = [next(answers) for _ in range(3)]
    answers.close()
  assert found[-1].skipped >= 2 and found[-1].dropped > 2
  assert found[-1].line().endswith(f'ms, {found[-1].skipped} skipped]')
  assert all(0.3 <= answer.latency < 2.0 for answer in found)


def test_lines_are_json_with_every_field(film, capsys, caplog):
  caplog.set_level('INFO', 'flatten_jax')
  count = stream_output.show(
    fj.stream(shades, film, window=2.0, every=2.0, **INPUTS), as_json=True
  )
  lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
  assert count == len(lines) == 4
  assert set(lines[0]) == {
    *('start', 'end', 'top', 'latency', 'skipped', 'dropped')
  }
  assert [line['end'] for line in lines] == [2, 4, 6, 8]
  assert lines[0]['top'][0]['class'] in NAMES
  assert '4 answers in 0:08; latency ' in caplog.text
  assert '0 windows skipped, 0 frames dropped' in caplog.text


def test_a_window_without_finite_scores_has_no_answer(film, capsys):
  def overflowing(images):
    return jnp.nan * shades(images)

  for as_json in (True, False):
    answers = fj.stream(overflowing, film, window=4.0, every=4.0, **INPUTS)
    assert stream_output.show(answers, as_json) == 2
  first, *_, last = capsys.readouterr().out.splitlines()
  assert json.loads(first)['error'] == 'the model gives no finite scores'
  assert 'top' not in json.loads(first)
  assert 'has no answer: the model gives no finite scores  [' in last


def test_an_interruption_ends_with_the_sum(film, capsys, caplog):
  caplog.set_level('INFO', 'flatten_jax')

  def interrupted():
    yield from list(fj.stream(shades, film, window=2.0, **INPUTS))[:2]
    raise KeyboardInterrupt

  assert stream_output.show(interrupted()) == 2
  first, second = capsys.readouterr().out.splitlines()
  assert first.startswith('0:00.0 - 0:02.0  ')
  assert second.startswith('0:01.0 - 0:03.0  ') and second.endswith(' ms]')
  assert '2 answers in 0:03' in caplog.text


def test_a_short_source_says_why_there_is_no_answer(film, caplog):
  caplog.set_level('INFO', 'flatten_jax')
  assert not stream_output.show(fj.stream(shades, film, window=60, **INPUTS))
  assert 'No answer: it ended before one window was complete' in caplog.text


def test_a_model_of_several_labels_answers_by_windows_as_for_a_file(tmp_path):
  still = np.repeat(moving_square(1, 32, 64), 50, axis=0)
  path = write_video(tmp_path / 'still.mp4', still)
  settings = {
    'data.num_frames': 4,
    'data.crop': 16,
    'data.views': '3x1',
    'data.multi_label': True,
    'eval_average': 'probs',
  }
  model = fj.VideoClassifier(
    # The film is the same at all times: the labels differ by the bias alone.
    callables.from_callable(
      lambda x: shades(x) + jnp.array([[1.4, 1.7, 1.5, 1.6]]), NAMES, settings
    )
  )
  [whole] = fj.predict(model, path, timeline=True)
  answer = next(fj.stream(model, path, window=1.0))
  labels = [name for name, _ in answer.prediction.labels]
  assert labels == [name for name, _ in whole.labels]
  np.testing.assert_allclose(
    answer.prediction.probabilities, whole.probabilities, atol=1e-5
  )
  for row in whole.timeline.probabilities:
    np.testing.assert_allclose(row, whole.probabilities, atol=1e-5)
  assert answer.prediction.probabilities.sum() != pytest.approx(1)
  assert 'labels' in answer.to_json()


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'every': 0}, 'more than 0 seconds from window to window'),
    ({'window': -1}, 'windows of 0'),
    ({'timeout': -1}, 'waits for 0 seconds'),
    ({'reconnects': -1}, 'connects again 0 times or more'),
  ],
)
def test_wrong_settings_are_refused_before_the_model_is_loaded(
  film, options, message
):
  with pytest.raises(ValueError, match=message):
    fj.stream(shades, film, **INPUTS | options)


def test_a_model_of_optical_flow_is_refused():
  settings = {'data.num_frames': 4, 'data.crop': 16, 'data.input': 'flow'}
  model = callables.from_callable(
    lambda images: images.mean((1, 2))[:, :4], NAMES, settings
  )
  with pytest.raises(ValueError, match=r'takes optical flow \(data.input=flow'):
    WindowClassifier(model)


def test_what_never_ends_is_not_predicted(film):
  for place in ('rtsp://me:secret@camera/1', '/dev/video9'):
    with pytest.raises(ValueError, match='use --mode=stream') as error:
      fj.predict(shades, place, **INPUTS)
    assert 'secret' not in str(error.value)
