# SPDX-License-Identifier: Apache-2.0
"""Tests of convolutional video models, against the official code."""

import json
import pathlib
import re

import jax
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.models import slowfast
from flatten_jax.models.weights import key_names
from tests.support import convnets, official

QUICK = ('slowfast_r101_nl_2x3x16x32x32', 'i3d_r50_nl_2x3x8x32x32')
FILES = convnets.FILES


@pytest.fixture(autouse=True, scope='module')
def full_precision():
  with jax.default_matmul_precision('highest'):
    yield


def slow_but(quick, files):
  """Marks all files as slow but the quick ones."""
  return [
    file if file in quick else pytest.param(file, marks=pytest.mark.slow)
    for file in files
  ]


def assert_close(ours, theirs, rtol=1e-8, name=''):
  """The tolerance is a share of the largest of theirs."""
  atol = rtol * np.abs(theirs).max()
  np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol, err_msg=name)


def softmax(x):
  x = np.asarray(x, np.float64)
  x = np.exp(x - x.max(axis=-1, keepdims=True))
  return x / x.sum(axis=-1, keepdims=True)


def norms(x):
  """Returns the norm of every channel of every clip. [B ... C] -> [B C]."""
  return np.sqrt(np.square(x).sum(axis=tuple(range(1, x.ndim - 1))))


def assert_same_norms(case, params, prefix=''):
  names = case.truth.get(f'{prefix}grad_param_names')
  names = case.truth['grad_param_names'] if names is None else names
  translated = official.translation(case.model, names)
  # Unused tensors of the file are not ours.
  assert set(translated.values()) == params.keys()
  theirs = case.truth[f'{prefix}grad_param_l2']
  ours = [
    np.sqrt(np.square(params[translated[str(name)]]).sum())
    if str(name) in translated
    else theirs[i]
    for i, name in enumerate(names)
  ]
  assert_close(ours, theirs, name=f'{prefix}gradients of parameters')


@pytest.mark.parametrize('file', slow_but(QUICK, FILES))
def test_everything_agrees_in_float64(parity_folder, file):
  with jax.enable_x64(True):
    case = convnets.load(parity_folder, file, 'float64')
    found = convnets.run(case, 'float64', look=True)

  truth = case.truth
  assert_close(found.logits, truth['logits'])
  if 'logits_positions' in truth:
    theirs = truth['logits_positions']
    assert_close(found.positions.reshape(theirs.shape), theirs)
  if 'scores' in truth:
    assert_close(softmax(found.output), truth['scores'])
  assert_close(norms(found.grad_x), truth['grad_input_l2'])
  for step in (7, 21):
    if f'grad_input_sub{step}' in truth:
      theirs = np.moveaxis(truth[f'grad_input_sub{step}'], 1, -1)
      assert_close(found.grad_x[..., ::step, ::step, :], theirs)
  assert_same_norms(case, found.params)
  compared = 0
  for key in truth:
    name, _, what = key.removeprefix('act/').rpartition('/')
    if key.startswith('act/') and what != 'shape':
      compared += 1
      ours = convnets.SUMMARIES[what](np.asarray(found.seen[name]))
      assert_close(ours, truth[key], name=key)
  assert compared >= 3


@pytest.mark.parametrize('file', slow_but(QUICK, convnets.TRAINED))
def test_training_agrees_in_float64(parity_folder, file):
  with jax.enable_x64(True):
    case = convnets.load(parity_folder, file, 'float64')
    found = convnets.run(case, 'float64', train=True)

  truth = case.truth
  assert_close(found.logits, truth['train/logits'])
  assert_close(norms(found.grad_x), truth['train/grad_input_l2'])
  assert_same_norms(case, found.params, 'train/')
  running = {
    convnets.statistic(key): value
    for key, value in truth.items()
    if key.startswith('train/') and 'running' in key
  }
  names = official.translation(case.model, running)
  assert names.keys() == running.keys()
  for name, value in running.items():
    assert_close(found.stats[names[name]], value, name=name)


@pytest.mark.slow
@pytest.mark.parametrize('file', FILES)
def test_logits_agree_in_float32(parity_folder, file):
  case = convnets.load(parity_folder, file, 'float32')
  logits = convnets.position_logits(case.model, case.clips).mean(axis=1)
  atol = 3e-5 if file.startswith('two_stream') else 1e-5
  np.testing.assert_allclose(logits, case.truth['logits'], rtol=0, atol=atol)
  if 'scores' in case.truth:
    scores = softmax(case.model(case.clips))
    np.testing.assert_allclose(scores, case.truth['scores'], rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('file', convnets.KEYS)
def test_every_published_file_is_loaded_and_can_be_written(parity_folder, file):
  shapes = json.loads((parity_folder / f'keys/{file}.json').read_text())
  shapes = shapes.get('tensors', shapes)
  shapes = {
    key: shape[1] if isinstance(shape[0], str) else shape
    for key, shape in shapes.items()
    if shape and not key_names.is_computed(key)
  }
  name, options, naming = convnets.KEYS[file]
  model = fj.create_model(name, int(file.rpartition('_nc')[2]), **options)
  tensors = {k: official.fill(k, tuple(s)) for k, s in shapes.items()}
  report = fj.load_torch(model, {'state_dict': tensors})
  assert not (report.resized or report.left_at_init or report.dropped)
  exported = fj.export_torch(model, naming=naming)
  tensors = {re.sub(r'^(module|model)\.', '', k): x for k, x in tensors.items()}
  assert exported.keys() >= tensors.keys() - convnets.UNUSED
  for key, value in exported.items():
    if not key_names.is_computed(key):
      np.testing.assert_array_equal(value, tensors[key], err_msg=key)


@pytest.mark.parametrize('twin', convnets.TWINS)
def test_the_tiny_twin_computes_what_it_did_when_the_files_agreed(twin):
  path = pathlib.Path(__file__).parents[1] / 'fixtures/clip_convnets.json'
  golden = json.loads(path.read_text())[twin]
  with jax.enable_x64(True):
    ours = convnets.measure(twin)
  for key in ('logits', 'trained', 'input'):
    assert_close(ours[key], golden[key], name=key)
  for key in ('parameters', 'statistics'):
    assert ours[key].keys() == golden[key].keys()
    for name, norm in golden[key].items():
      np.testing.assert_allclose(ours[key][name], norm, 1e-8, 1e-12)


def test_slow_frames_are_rounded_down_and_reach_the_last():
  for frames, expected in (
    (8, [0, 7]),
    (16, [0, 5, 10, 15]),
    (32, [0, 4, 8, 13, 17, 22, 26, 31]),
  ):
    found = slowfast.slow_frames(frames, 4)
    np.testing.assert_array_equal(found, expected)
  found = slowfast.slow_frames(64, 4)
  np.testing.assert_array_equal(found[:8], [0, 4, 8, 12, 16, 21, 25, 29])


def test_several_positions_average_probabilities():
  model = fj.create_model('i3d_test', 5)
  rng = np.random.default_rng(0)
  maps = 3 * rng.standard_normal((1, 2, 2, 3, 128), np.float32)
  halves = [maps[:, :, :, i : i + 2] for i in (0, 1)]
  expected = np.mean([softmax(model.classify(x)) for x in halves], axis=0)
  found = model.classify(maps)
  np.testing.assert_allclose(softmax(found), expected, rtol=1e-5)
  np.testing.assert_allclose(np.exp(found).sum(), 1, rtol=1e-5)


@pytest.mark.parametrize(
  ('name', 'shape', 'message'),
  [
    ('slowfast_test', (1, 5, 32, 32, 3), 'multiple of 2 frames'),
    ('i3d_test', (1, 1, 32, 32, 3), 'more frames'),
    ('i3d_test', (1, 4, 16, 16, 3), 'key_pool'),
  ],
)
def test_clips_that_are_too_short_or_small_are_refused(name, shape, message):
  model = fj.create_model(name, 5)
  with pytest.raises(ValueError, match=message):
    model(np.zeros(shape, np.float32))


def test_frames_that_groups_do_not_divide_are_refused():
  model = fj.create_model('i3d_test', 5, temporal_groups=3)
  with pytest.raises(ValueError, match='temporal_groups=3'):
    model(np.zeros((1, 4, 64, 64, 3), np.float32))


def test_temporal_groups_attend_within_themselves():
  model = fj.create_model('i3d_test', 5, temporal_groups=2)
  block = model.stages[1][1].non_local
  block.norm.scale.set_value(block.norm.scale + 1)
  rng = np.random.default_rng(0)
  x = rng.standard_normal((1, 4, 4, 4, block.norm.scale.shape[0]), np.float32)
  other = x.copy()
  other[:, 3] += 1
  moved = np.abs(block(x) - block(other)).max(axis=(0, 2, 3, 4)) > 0
  np.testing.assert_array_equal(moved, [False, False, True, True])


def test_a_clip_shape_below_one_position_is_refused():
  for name in ('slowfast_test', 'i3d_test'):
    with pytest.raises(ValueError, match='clip_shape must be'):
      fj.create_model(name, 5, clip_shape=(4, 16, 64))
