# SPDX-License-Identifier: Apache-2.0
"""Grad-CAM agrees with its definition and with models of known evidence."""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax import models

TWINS = [
  name
  for name, entry in models.MODELS.items()
  if name.endswith('_test') and entry.module.has_feature_map
]


def test_a_model_with_a_class_token_is_refused():
  model = nnx.eval_shape(lambda: fj.create_model('vivit_test'))
  with pytest.raises(ValueError, match='ViViT classifies by a token'):
    fj.grad_cam(model, np.zeros((1, 4, 32, 48, 3)))


class Patches(nnx.Module):
  """Features are means of 4 x 4 pixels; the logit of class c is channel c."""

  def features(self, images):
    batch, height, width, _ = images.shape
    cells = images.reshape(batch, height // 4, 4, width // 4, 4, 3)
    return cells.mean(axis=(2, 4))

  def classify(self, features):
    return features.mean(axis=(1, 2))


@pytest.mark.parametrize('mode', ['row_major', 'nested'])
def test_the_decisive_frame_is_hot(mode):
  clip = np.zeros((1, 16, 8, 8, 3), np.float32)
  clip[0, 6, 4:, :4, 1] = 3.0  # A green patch, lower left.
  heat = fj.grad_cam(Patches(), fj.flatten(clip, mode))
  frames = fj.unflatten(heat[..., None], 16, mode)[0, ..., 0]
  expected = np.zeros((16, 2, 2))
  expected[6, 1, 0] = 3.0
  np.testing.assert_allclose(frames, expected, atol=1e-6)


def test_evidence_against_a_class_is_not_hot():
  image = np.zeros((1, 8, 8, 3), np.float32)
  image[0, :4, :4, 2], image[0, 4:, 4:, 2] = -1.0, 1.0
  heat = fj.grad_cam(Patches(), image, [2])[0]
  np.testing.assert_allclose(heat, [[0, 0], [0, 1]], atol=1e-6)


def test_each_image_gets_its_class_or_the_predicted_one():
  images = np.ones((2, 4, 4, 3), np.float32) * np.array([1, 2, 3], np.float32)
  heat = fj.grad_cam(Patches(), images, [0, -1])
  np.testing.assert_allclose(heat[:, 0, 0], [1, 3], rtol=1e-6)
  heat = fj.grad_cam(Patches(), images)
  np.testing.assert_allclose(heat[:, 0, 0], [3, 3], rtol=1e-6)


@pytest.mark.parametrize('stage', [1, 3])
def test_weights_are_finite_differences_of_the_logit(stage):
  with jax.enable_x64():
    model = fj.create_model('resnet_test', num_classes=3, dtype='float64')
    rng = np.random.default_rng(0)
    images = rng.standard_normal((1, 32, 32, 3))
    maps = {}

    @jax.jit
    def logit(offset):
      def look(i, x):
        maps[i + 1] = x
        return x + offset.reshape(1, 1, 1, -1) if i + 1 == stage else x

      logits = model.classify(model.features(images, after_stage=look))
      return logits[0, 1], maps[stage]

    channels = {1: 16, 3: 64}[stage]
    step = 1e-6 * np.eye(channels)
    feature_map = np.asarray(logit(jnp.zeros(channels))[1])[0]
    weights = [(logit(d)[0] - logit(-d)[0]) / 2e-6 for d in step]
    expected = np.maximum(feature_map @ np.array(weights), 0)
    heat = fj.grad_cam(model, images, [1], stage=stage)
  np.testing.assert_allclose(heat[0], expected, rtol=1e-4, atol=1e-6)
  assert heat.max() > 0


@pytest.mark.parametrize('name', TWINS)
def test_every_model_has_heat_at_every_stage(name):
  spec = models.input_spec(name)
  model = nnx.eval_shape(functools.partial(fj.create_model, name))
  graphdef, state = nnx.split(model)
  fits = models.takes_size({'name': name}, spec.crop, spec.crop)
  side = spec.crop if fits else 128
  time = (spec.num_frames,) if models.takes_clips(name) else ()
  images = jax.ShapeDtypeStruct((2, *time, side, side, 3), jnp.float32)

  def heats(state, images):
    model = nnx.merge(graphdef, state)
    stages = (1, None)
    return [fj.grad_cam(model, images, stage=stage) for stage in stages]

  found = jax.eval_shape(heats, state, images)
  first, last = (x.shape for x in found)
  assert len(first) == len(last) == 3 + len(time)
  assert first[0] == last[0] == 2
  assert first[-2:] > last[-2:]
  assert all(x.dtype == jnp.float32 for x in found)


def test_wrong_models_stages_and_labels_are_refused():
  class Opaque(nnx.Module):
    pass

  class CallablePatches(Patches):
    def __call__(self, images):
      return self.classify(self.features(images))

  images = np.zeros((2, 8, 8, 3), np.float32)
  with pytest.raises(ValueError, match=r'Opaque.*does not'):
    fj.grad_cam(Opaque(), images)
  with pytest.raises(ValueError, match='from 1 to 1 for a Patches; got 2'):
    fj.grad_cam(Patches(), images, stage=2)
  for wrong in ([0, 1, 2], 1, ['left', 'up']):
    with pytest.raises(ValueError, match=r'each of 2 images, shape \[2\]; got'):
      fj.grad_cam(Patches(), images, wrong)
  with pytest.raises(ValueError, match=r'from 0 to 2, or -1.*got \[0, 3\]'):
    fj.grad_cam(Patches(), images, [0, 3])
  for model, shape in (
    (Patches(), (0, 8, 8, 3)),
    (Patches(), (2, 0, 8, 3)),
    (fj.Flattened(CallablePatches()), (2, 0, 8, 8, 3)),
  ):
    with pytest.raises(ValueError, match=rf'got none: \[{shape[0]}, ') as error:
      fj.grad_cam(model, np.zeros(shape, np.float32))
    assert str(list(shape)) in str(error.value)


def test_a_flattened_model_has_the_heat_of_each_frame():
  model = fj.create_model('uniformer_test', 5)
  rng = np.random.default_rng(0)
  clips = rng.standard_normal((2, 4, 64, 64, 3), np.float32)
  heat = fj.grad_cam(fj.Flattened(model), clips, [0, 1])
  assert heat.shape == (2, 4, 2, 2)
  whole = fj.grad_cam(model, fj.flatten(clips), [0, 1])
  np.testing.assert_array_equal(fj.flatten(heat[..., None])[..., 0], whole)
  early = fj.grad_cam(fj.Flattened(model, grid=(1, 4)), clips, stage=1)
  assert early.shape == (2, 4, 16, 16)
  small = clips[:, :, :16, :16]
  with pytest.raises(ValueError, match='does not divide into 2 x 2 frames'):
    fj.grad_cam(fj.Flattened(model), small)
  with pytest.raises(ValueError, match="'random' draws an order"):
    fj.grad_cam(fj.Flattened(model, 'random'), clips)
