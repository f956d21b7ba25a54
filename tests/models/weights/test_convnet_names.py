# SPDX-License-Identifier: Apache-2.0
"""Names of published convolutional video models: all are read and written."""

import json
import re

from flax import nnx, traverse_util
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.models.weights import key_names, naming
from tests.support import convnets, official


@pytest.mark.slow
@pytest.mark.parametrize('file', convnets.KEYS)
def test_every_published_file_is_loaded_and_can_be_written(parity_folder, file):
  shapes = json.loads((parity_folder / f'keys/{file}.json').read_text())
  shapes = shapes.get('tensors', shapes)
  shapes = {
    key: shape[1] if isinstance(shape[0], str) else shape
    for key, shape in shapes.items()
    if shape and not naming.is_computed(key)
  }
  name, options, publisher = convnets.KEYS[file]
  model = fj.create_model(name, int(file.rpartition('_nc')[2]), **options)
  tensors = {k: official.fill(k, tuple(s)) for k, s in shapes.items()}
  report = fj.load_torch(model, {'state_dict': tensors})
  assert not (report.resized or report.left_at_init or report.dropped)
  exported = fj.export_torch(model, naming=publisher)
  tensors = {re.sub(r'^(module|model)\.', '', k): x for k, x in tensors.items()}
  assert exported.keys() >= tensors.keys() - convnets.UNUSED
  for key, value in exported.items():
    if not naming.is_computed(key):
      np.testing.assert_array_equal(value, tensors[key], err_msg=key)


def test_i3d_is_read_in_the_names_of_tensorflow():
  model = fj.create_model('i3d_inception_test', 5, rngs=1)
  state = fj.export_torch(model, naming='deepmind')
  kernel = state['Mixed_3b.Branch_1.Conv3d_0b_3x3.conv_3d.w']
  assert kernel.shape == (3, 3, 3, 2, 4)
  assert state['Logits.Conv3d_0c_1x1.conv_3d.w'].shape == (1, 1, 1, 16, 5)
  assert not any('gamma' in name for name in state)
  file = {}
  for name, value in state.items():  # As the Kinetics-600 file has vectors.
    value = value.reshape((1,) * (5 - value.ndim) + value.shape)
    file[f'RGB/inception_i3d/{name.replace(".", "/")}'] = value
    file[f'RGB/inception_i3d/{name.replace(".", "/")}/Momentum'] = value
  other = fj.create_model('i3d_inception_test', 5)
  fj.load_torch(other, file)
  x = official.images((1, 3, 8, 64, 64))
  np.testing.assert_array_equal(model(x), other(x))


@pytest.mark.parametrize('file', ['rgb_imagenet_tf', 'rgb_scratch_kin600_tf'])
def test_deepminds_variables_are_those_of_ours(parity_folder, file):
  path = parity_folder / f'keys/i3d_inception_deepmind_{file}.json'
  shapes = json.loads(path.read_text())
  classes = 600 if '600' in file else 400
  model = nnx.eval_shape(lambda: fj.create_model('i3d_inception', classes))
  names = key_names.namings_of(model)['deepmind']
  state = nnx.to_pure_dict(nnx.state(model, (nnx.Param, nnx.BatchStat)))
  ours = {
    names.official('.'.join(map(str, path)))
    for path in traverse_util.flatten_dict(state)
  }
  theirs = {
    name.replace('/', '.').removeprefix('RGB.inception_i3d.')
    for name in shapes
    if not naming.is_computed(name)
  }
  assert {name for name in ours if not name.endswith('gamma')} == theirs
