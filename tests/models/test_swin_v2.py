# SPDX-License-Identifier: Apache-2.0
"""Tests of SwinV2 with any window, and the images that windows divide."""

from flax import nnx
import jax
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.models import swin_v2


def draw(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape, np.float32)


def test_the_parameters_do_not_depend_on_the_window():
  x = draw(1, 64, 128, 3)
  shapes, logits = [], []
  for window in (2, 4):
    model = fj.create_model('swinv2_test', 5, window=window)
    graphdef, params = nnx.split(model)
    shapes.append(jax.tree.map(np.shape, nnx.to_pure_dict(params)))
    # Away from the initial zeros of norms, with which blocks do nothing.
    params = jax.tree.map(lambda x: x + 0.1, params)
    run = jax.jit(lambda p, x, graphdef=graphdef: nnx.merge(graphdef, p)(x))
    logits.append(run(params, x))
  assert shapes[0] == shapes[1]
  assert np.abs(logits[0] - logits[1]).max() > 1e-7


def test_windows_of_24_fit_the_image_of_the_paper():
  model = nnx.eval_shape(lambda: fj.create_model('swinv2_t', window=24))
  graphdef, state = nnx.split(model)
  x = jax.ShapeDtypeStruct((1, 768, 768, 3), np.float32)
  features = jax.eval_shape(
    lambda state, x: nnx.merge(graphdef, state).features(x), state, x
  )
  assert features.shape == (1, 24, 24, 768)


def test_a_size_that_does_not_fit_is_refused_with_those_that_do():
  model = fj.create_model('swinv2_test', window=8)
  with pytest.raises(ValueError) as error:
    model(draw(1, 96, 256, 3))
  text = str(error.value)
  assert 'Windows of 8 do not divide an image of 96 x 256' in text
  assert 'heights 64 or 128, ' in text
  assert text.endswith('widths 256, or windows of 32, 64.')
  with pytest.raises(ValueError, match=r'widths 32 or 64'):
    model(draw(1, 64, 50, 3))
  with pytest.raises(ValueError, match=r'heights 32, widths 64'):
    model(draw(1, 7, 64, 3))
  with pytest.raises(ValueError, match='side of 1 or more, not 0'):
    fj.create_model('swinv2_test', window=0)


def test_every_size_that_fits_works():
  model = nnx.eval_shape(lambda: fj.create_model('swinv2_test', 5, window=6))
  graphdef, state = nnx.split(model)
  run = lambda state, x: nnx.merge(graphdef, state)(x)  # noqa: E731
  sides = [side for side in range(1, 400) if swin_v2.fits(side, 6)]
  assert sides == [96, 192, 384]
  for side in sides:
    x = jax.ShapeDtypeStruct((1, side, 192, 3), np.float32)
    assert jax.eval_shape(run, state, x).shape == (1, 5)
