# SPDX-License-Identifier: Apache-2.0
"""Parts of the demo's page: HTML, pictures, and the video of the player."""

import base64
import dataclasses
import io
import re

import av
import numpy as np
from PIL import Image
import pytest

from flatten_jax.demo import parts, pictures
from tests.support.video_maker import moving_square, write_video


def test_the_timeline_has_a_cell_for_each_second_of_each_class(left):
  page = parts.timeline(left)
  found = left.prediction.timeline
  seconds = len(found.seconds)
  assert 'data-duration="4.000"' in page
  assert len(re.findall('<span data-start', page)) == seconds == 4
  rows = re.findall(r'<div class="seconds">(.*?)</div>', page)
  assert all(row.count('<b') == seconds for row in rows)
  (row,) = (rows[i] for i, name in enumerate(names(page)) if name == 'left')
  assert row.count('class="best"') == seconds
  assert '<time>0:01</time> left 9' in page


def test_a_second_without_finite_scores_has_no_answer(left):
  found = left.prediction.timeline
  probabilities = found.probabilities.copy()
  probabilities[1] = np.nan
  found = dataclasses.replace(found, probabilities=probabilities)
  prediction = dataclasses.replace(left.prediction, timeline=found)
  page = parts.timeline(dataclasses.replace(left, prediction=prediction))
  assert 'nan' not in page
  assert '<time>0:01</time> no answer: the model gives no finite scores' in page
  assert 'title="0:01 - 0:02: the model gives no finite scores"' in page
  assert '<time>0:02</time> left 9' in page


def test_the_page_tells_of_a_tap_only_beside_a_player(left):
  assert 'Tap a second' in parts.timeline(left)
  assert 'Tap a second' not in parts.timeline(left, has_player=False)


@pytest.mark.parametrize('shape', [(16, 2000), (2000, 16), (64, 64)])
def test_a_video_of_any_shape_has_a_player(left, tmp_path, shape, monkeypatch):
  page = pytest.importorskip('flatten_jax.demo.page', reason='without gradio')
  path = write_video(tmp_path / 'a.avi', moving_square(4, *shape), codec='ffv1')
  values = page._values(left, str(path))
  with av.open(values[2]) as file:
    stream = file.streams.video[0]
    assert max(stream.height, stream.width) == min(max(shape), 1440)
  assert 'Tap a second' in values[3]
  monkeypatch.setattr(page, '_playable', lambda _: None)
  assert 'Tap a second' not in page._values(left, str(path))[3]


def names(page):
  return re.findall(r'<div class="name"[^>]*>(.*?)</div>', page)


def test_a_name_from_outside_stays_text(left):
  prediction = dataclasses.replace(
    left.prediction, class_names=('<script>alert(1)</script>',) * 12
  )
  evil = dataclasses.replace(
    left,
    prediction=prediction,
    no_timeline='<img src=x onerror=alert(1)>',
    orders=[
      dataclasses.replace(order, top=[('<script>', 1.0)])
      for order in left.orders
    ],
  )
  without = dataclasses.replace(prediction, timeline=None)
  pages = [
    parts.answer_in_words(prediction),
    parts.orders(evil),
    parts.timeline(dataclasses.replace(evil, prediction=without)),
    parts.problem('<script>'),
  ]
  for page in pages:
    assert '<script' not in page
    assert '<img src=x' not in page
    assert '&lt;' in page


def test_several_labels_are_all_said_and_none_is_said_too(left):
  some = dataclasses.replace(left.prediction, thresholds=(0.002,) * 12)
  assert 'left' in parts.answer_in_words(some)
  assert parts.answer_in_words(some).count('<small>') > 1
  none = dataclasses.replace(left.prediction, thresholds=(0.999,) * 12)
  assert 'no class' in parts.answer_in_words(none)
  windows = dataclasses.replace(none.timeline, thresholds=none.thresholds)
  none = dataclasses.replace(none, timeline=windows)
  page = parts.timeline(dataclasses.replace(left, prediction=none))
  assert '</time> no class' in page
  assert 'class="best"' not in page


def test_pictures_keep_the_pixels_and_agree_in_size(left):
  image = pictures.flattened(left, left.clip)
  heat = left.heats['Grad-CAM']
  assert image.shape == pictures.flattened(left, heat).shape
  step = image.shape[0] // (3 * 32)
  middle = image[step // 2 :: step, step // 2 :: step]  # Of each pixel.
  inside = np.s_[20:31, 20:31]  # Of the first frame, without its number.
  np.testing.assert_array_equal(middle[inside], left.clip[0][inside])


def test_an_animation_has_the_frames_in_their_order(left):
  data = pictures.loop(left.clip[::-1]).partition('base64,')[2]
  image = Image.open(io.BytesIO(base64.b64decode(data)))
  assert image.n_frames == 9
  first = np.asarray(image.convert('RGB'), int)
  errors = [
    np.abs(first - frame.repeat(5, 0).repeat(5, 1)).mean()
    for frame in left.clip
  ]
  assert np.argmin(errors) == 8
