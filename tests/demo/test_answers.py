# SPDX-License-Identifier: Apache-2.0
"""What the demo computes for a video, without a browser and without Gradio."""

import dataclasses
import json

import ml_collections
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.demo import answers, example_videos
from flatten_jax.exporting import exported_model, metadata, program
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.runtime import callables


def test_the_classes_are_those_of_predict(left, videos):
  (predicted,) = fj.predict(
    answers.BUNDLED, videos['left'], timeline=True, every=1.0
  )
  found = left.prediction
  assert found.label == 'left'
  np.testing.assert_array_equal(found.probabilities, predicted.probabilities)
  np.testing.assert_array_equal(
    found.timeline.probabilities, predicted.timeline.probabilities
  )


def test_the_clip_is_laid_out_as_the_model_sees_it(left):
  assert left.clip.shape == (9, 32, 32, 3)
  image = left.flattened(left.clip)
  np.testing.assert_array_equal(image, fj.flatten(left.clip))
  assert list(left.heats) == ['Grad-CAM', 'contrast']
  frames, height, width, channels = left.heats['contrast'].shape
  assert (frames, channels) == (9, 3)
  assert height == width >= 32


def test_a_motion_played_backwards_is_its_opposite(left):
  first, second, third = left.orders
  assert [first.name, second.name] == ['as filmed', 'reversed']
  np.testing.assert_array_equal(second.frames, np.arange(9)[::-1])
  assert (first.top[0][0], second.top[0][0]) == ('left', 'right')
  assert sorted(third.frames) == list(range(9))
  sentence = answers.what_order_does(left.orders)
  assert sentence.startswith('The answer changes from left to right when')
  same = [first, dataclasses.replace(first, name='reversed')]
  assert 'stays left in any order' in answers.what_order_does(same)


def test_the_examples_are_of_their_motions(model, videos):
  for name in example_videos.VIDEOS:
    found = answers.answer(model, videos[name]).prediction
    if name == 'four_motions':
      middles = found.timeline.probabilities[[2, 6, 14]].argmax(-1)
      named = [model.class_names[number] for number in middles]
      assert named == ['right', 'up', 'left']
    else:
      assert found.label == name


def test_an_exported_file_answers_alike_and_says_that_it_has_no_heat(
  model, left, videos, tmp_path
):
  described = json.dumps(metadata.describe(model))
  (tmp_path / 'metadata.json').write_text(described)
  file = tmp_path / 'model.stablehlo'
  file.write_bytes(program.to_stablehlo(model))
  for source in (file, str(tmp_path)):
    exported = answers.open_model(source)
    assert exported.class_names == model.class_names
  found = answers.answer(exported, videos['left'])
  np.testing.assert_allclose(
    found.prediction.probabilities, left.prediction.probabilities, atol=1e-5
  )
  assert found.prediction.timeline.answer() == 'left'
  assert found.orders[1].top[0][0] == 'right'
  assert found.heats == {}
  assert 'exported file' in answers.why_no_heat(exported)
  file.rename(tmp_path / 'model.safetensors')
  with pytest.raises(ValueError, match=r'expected model\.stablehlo'):
    exported_model.load(tmp_path / 'model.safetensors')
  with pytest.raises(FileNotFoundError, match=r'neither model\.stablehlo'):
    exported_model.load(tmp_path)
  (tmp_path / 'metadata.json').unlink()
  (tmp_path / 'model.safetensors').rename(file)
  with pytest.raises(FileNotFoundError, match=r'needs the class names'):
    exported_model.load(file)


def test_several_labels_have_a_timeline_and_thresholds(model, videos):
  config = ml_collections.ConfigDict(model.config.to_dict())
  config.data.multi_label = True
  experiment = dataclasses.replace(
    model.experiment, config=ml_collections.FrozenConfigDict(config)
  )
  several = dataclasses.replace(
    model, experiment=experiment, thresholds=(0.6,) * 12
  )
  found = answers.answer(several, videos['left']).prediction
  assert found.thresholds == (0.6,) * 12
  assert 'left' in dict(found.labels)
  assert found.probabilities.sum() > 1.01  # Of a sigmoid each.
  assert found.timeline.probabilities[1].sum() > 1.01
  assert found.timeline.thresholds == (0.6,) * 12


def test_single_frames_have_no_order_and_a_function_no_heat(videos):
  model = callables.from_callable(
    lambda images: images.mean((1, 2)),
    ['red', 'green', 'blue'],
    {'data.num_frames': 1, 'data.crop': 8, 'data.sampling': 'segment'},
  )
  found = answers.answer(model, videos['right'])
  assert found.heats == {}
  assert answers.why_no_heat(model).startswith('No heat: Explanations need')
  assert [order.name for order in found.orders] == ['as filmed']
  assert 'single frames' in answers.what_order_does(found.orders)
  assert found.flattened(found.clip).shape == (8, 8, 3)


def test_a_long_video_has_an_answer_and_a_reason(model, videos, monkeypatch):
  monkeypatch.setattr(answers, 'LONGEST_TIMELINE', 3.0)
  found = answers.answer(model, videos['right'])
  assert found.prediction.label == 'right'
  assert found.prediction.timeline is None
  assert 'longer than' in found.no_timeline


def test_what_is_no_video_is_named_with_the_cause(model, videos, tmp_path):
  text, cut = tmp_path / 'notes.mp4', tmp_path / 'cut.mp4'
  text.write_text('not a video')
  cut.write_bytes(videos['left'].read_bytes()[:3000])
  for file in (text, cut):
    with pytest.raises(VideoError, match='no video, or damaged'):
      answers.answer(model, file)
