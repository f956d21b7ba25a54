# SPDX-License-Identifier: Apache-2.0
"""Names of published convolutional video models, in files of their forms."""

import json
import math
import re

from flax import nnx
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.models import bn_inception
from flatten_jax.models.weights import key_names, naming
from tests.support import convnets, official, torch_writer, weight_writer


def shapes_of(folder, file):
  """Names and shapes of a published file, without what is not learned."""
  shapes = json.loads((folder / f'keys/{file}.json').read_text())
  shapes = shapes.get('tensors', shapes)
  return {
    re.sub(r'^(module|model|RGB/inception_i3d)[./]', '', key): tuple(
      shape[1] if isinstance(shape[0], str) else shape
    )
    for key, shape in shapes.items()
    if shape and not naming.is_computed(key)
  }


def classes_of(file):
  match = re.search(r'(?:_nc|_kin)(\d+)', file)
  return int(match[1]) if match else 400


@pytest.mark.parametrize('file', convnets.KEYS)
def test_names_and_shapes_are_those_of_every_published_file(
  parity_folder, file
):
  name, options, publisher = convnets.KEYS[file]
  model = nnx.eval_shape(
    lambda: fj.create_model(name, classes_of(file), **options)
  )
  names = key_names.namings_of(model)[publisher]
  ours = {}
  state = nnx.state(model, (nnx.Param, nnx.BatchStat))
  for key, value in official.flat_leaves(state).items():
    fill = 1.0 if key.endswith('scale') else 0.0
    value = np.broadcast_to(np.float32(fill), value.shape)
    ours |= names.to_theirs(key, value, model)
  theirs = shapes_of(parity_folder, file)
  if publisher == 'deepmind':  # Some have vectors of five axes.
    theirs = {
      key.replace('/', '.'): shape[-1:]
      if math.prod(shape) == shape[-1]
      else shape
      for key, shape in theirs.items()
    }
  assert {key: value.shape for key, value in ours.items()} == theirs


def write(folder, state, publisher):
  """Writes weights in the form in which a publisher does."""
  state = {k: x for k, x in state.items() if not naming.is_computed(k)}
  if publisher == 'caffe2':
    extra = {'lr': np.ones(1, np.float32), 'model_iter': np.ones(1)}
    extra |= {f'{name}_momentum': value for name, value in state.items()}
    weight_writer.caffe2(folder / 'x.pkl', state | extra)
    return folder / 'x.pkl'
  if publisher == 'deepmind':
    state = {
      f'RGB/inception_i3d/{name.replace(".", "/")}': value
      for name, value in state.items()
    }
    weight_writer.tensorflow(folder / 'model.ckpt.index', state)
    return folder / 'model.ckpt.index'
  if publisher == 'vgg':
    weight_writer.matconvnet(folder / 'x.mat', state)
    return folder / 'x.mat'
  if publisher == 'caffe':
    weight_writer.caffe(folder / 'x.caffemodel', state)
    return folder / 'x.caffemodel'
  prefix = 'module.' if publisher in ('tsn', 'tdn') else ''
  state = {f'{prefix}{name}': value for name, value in state.items()}
  torch_writer.save(folder / 'x.pth', {'state_dict': state})
  return folder / 'x.pth'


TWINS = [
  (twin, publisher)
  for twin, publishers in {
    'slowfast_test': ('pyslowfast', 'pytorchvideo', 'caffe2'),
    'i3d_test': ('pyslowfast', 'pytorchvideo', 'caffe2'),
    'tsn_test': ('tsn', 'openmmlab'),
    'bn_inception_test': ('cadene', 'yjxiong', 'caffe', 'tsn'),
    'tsn_bninception': ('tsn', 'caffe'),
    'tdn_test': ('tdn',),
    'motion_squeeze_test': ('motion_squeeze',),
    'i3d_inception_test': ('piergiaj', 'deepmind'),
    'two_stream_test': ('vgg', 'cadene'),
  }.items()
  for publisher in publishers
]
OPTIONS = {  # Of a model without a twin.
  'tsn_bninception': {
    'stem': bn_inception.TEST.stem,
    'stages': bn_inception.TEST.stages,
  }
}


def filled(twin, publisher, classes=5, **options):
  """A model with weights by the names of a publisher, and these."""
  model = convnets.create(twin, classes, **options)
  if publisher == 'deepmind':  # Its norms have no scales.
    for path, value in official.flat_state(model).items():
      if path.endswith('scale'):
        module = model
        *parents, leaf = path.split('.')
        for part in parents:
          module = (
            module[int(part)] if part.isdigit() else getattr(module, part)
          )
        getattr(module, leaf).set_value(np.ones_like(value))
  empty = fj.export_torch(model, naming=publisher)
  state = {
    name: official.fill(name, value.shape) for name, value in empty.items()
  }
  return model, state


@pytest.mark.parametrize(('twin', 'publisher'), TWINS)
def test_a_published_file_is_read_whole_and_can_be_written(
  twin, publisher, tmp_path
):
  model, state = filled(twin, publisher, **OPTIONS.get(twin, {}))
  report = fj.load_torch(model, write(tmp_path, state, publisher))
  assert not (report.resized or report.left_at_init or report.dropped)
  again = fj.export_torch(model, naming=publisher)
  assert again.keys() == state.keys()
  for name, value in again.items():
    if not naming.is_computed(name):
      np.testing.assert_array_equal(value, state[name], err_msg=name)


@pytest.mark.large
@pytest.mark.parametrize('file', convnets.KEYS)
def test_published_files_of_full_size_are_read_and_written(
  parity_folder, file, tmp_path
):
  name, options, publisher = convnets.KEYS[file]
  model, state = filled(name, publisher, classes_of(file), **options)
  fj.load_torch(model, write(tmp_path, state, publisher))
  for key, value in fj.export_torch(model, naming=publisher).items():
    if not naming.is_computed(key):
      np.testing.assert_array_equal(value, state[key], err_msg=key)


def test_frozen_norms_of_caffe2_change_nothing(tmp_path):
  """Their factor and shift are what is left; non-local blocks have none."""
  model, state = filled('i3d_test', 'caffe2')
  affine = {
    name: value
    for name, value in state.items()
    if not re.search(r'_(rm|riv)$|^nonlocal.*_bn_', name)
  }
  fj.load_torch(model, write(tmp_path, affine, 'caffe2'))
  ours = official.flat_state(model)
  x = np.linspace(-2, 2, 8, dtype=np.float32)
  norm = model.stages[0][0].norm1
  np.testing.assert_allclose(
    norm(np.broadcast_to(x[:4], (1, 1, 1, 1, 4))),
    (x[:4] * ours['stages.0.0.norm1.scale'] + ours['stages.0.0.norm1.bias'])[
      None, None, None, None
    ],
    rtol=1e-6,
  )
  one = {'scale': 1, 'bias': 0, 'mean': 0, 'var': np.float32(1 - 1e-5)}
  for name, value in one.items():
    found = ours[f'stages.1.1.non_local.norm.{name}']
    np.testing.assert_array_equal(found, np.full_like(found, value))
  del affine['res2_0_branch2a_bn_s']
  with pytest.raises(
    ValueError, match='Only in the model: res2_0_branch2a_bn_s'
  ):
    fj.load_torch(model, affine)


def test_one_missing_statistic_is_not_taken_for_a_frozen_norm():
  model, state = filled('i3d_test', 'caffe2')
  del state['res2_0_branch2a_bn_riv']
  with pytest.raises(
    ValueError, match='Only in the model: res2_0_branch2a_bn_riv'
  ):
    fj.load_torch(model, state)


def test_vectors_may_have_an_axis_of_one():
  """As in the older file of BN-Inception."""
  model, state = filled('bn_inception_test', 'yjxiong')
  old = {
    name: x[None] if '_bn.' in name and x.ndim == 1 else x
    for name, x in state.items()
  }
  fj.load_torch(model, old)
  for name, value in fj.export_torch(model, naming='yjxiong').items():
    if not naming.is_computed(name):
      np.testing.assert_array_equal(value, state[name], err_msg=name)


def test_tensorflows_norms_have_no_scale():
  model, _ = filled('i3d_inception_test', 'deepmind')
  state = fj.export_torch(model, naming='deepmind')
  kernel = state['Mixed_3b.Branch_1.Conv3d_0b_3x3.conv_3d.w']
  assert kernel.shape == (3, 3, 3, 2, 4)
  assert state['Logits.Conv3d_0c_1x1.conv_3d.w'].shape == (1, 1, 1, 16, 5)
  assert not any('gamma' in name for name in state)
  five = {  # As the Kinetics-600 file has vectors.
    name: x.reshape((1,) * (5 - x.ndim) + x.shape) for name, x in state.items()
  }
  fj.load_torch(model, five)
  fj.load_torch(
    model, fj.export_torch(fj.create_model('i3d_inception_test', 5))
  )
  model.stages[0][0].one.norm.scale.set_value(np.full(2, 2.0))
  with pytest.raises(ValueError, match='is not 1'):
    fj.export_torch(model, naming='deepmind')
