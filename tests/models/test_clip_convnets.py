# SPDX-License-Identifier: Apache-2.0
"""Tests of convolutional video models, against the official code."""

import json
import pathlib
import re

from flax import nnx, traverse_util
import jax
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.models import motion_squeeze, slowfast, tdn, two_stream
from flatten_jax.models.layers import correlation
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
  naming = key_names.namings_of(model)['deepmind']
  state = nnx.to_pure_dict(nnx.state(model, (nnx.Param, nnx.BatchStat)))
  ours = {
    naming.official('.'.join(map(str, path)))
    for path in traverse_util.flatten_dict(state)
  }
  theirs = {
    name.replace('/', '.').removeprefix('RGB.inception_i3d.')
    for name in shapes
    if not key_names.is_computed(name)
  }
  assert {name for name in ours if not name.endswith('gamma')} == theirs


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


def test_averaged_is_the_mean_of_the_logits_of_frames():
  model = fj.create_model('resnet_test', 5)
  clips = official.images((2, 3, 3, 32, 32))
  frames = [model(clips[:, t]) for t in range(3)]
  found = fj.Averaged(model)(clips)
  np.testing.assert_allclose(found, np.mean(frames, axis=0), atol=1e-6)
  for bad in (clips[0], clips[:, :0]):
    with pytest.raises(ValueError, match='Averaged takes clips'):
      fj.Averaged(model)(bad)
  with pytest.raises(TypeError, match='callable model'):
    fj.Averaged('resnet50')


def test_tsn_is_averaged_with_names_of_its_own():
  image, video = (
    fj.create_model('resnet_test', 5),
    fj.create_model('tsn_test', 5),
  )
  fj.load_torch(video, fj.export_torch(image))
  clips = official.images((2, 3, 3, 32, 32))
  found, expected = video(clips), fj.Averaged(image)(clips)
  np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
  ('name', 'shape', 'message'),
  [
    ('tdn_test', (1, 8, 64, 64, 3), '5 neighboring frames'),
    ('tdn_test', (1, 10, 32, 64, 3), '33 px or more'),
    ('motion_squeeze_test', (1, 1, 64, 64, 3), 'two frames or more'),
    ('bn_inception_test', (1, 64, 48, 3), 'multiples of 32 px'),
    ('two_stream_test', (1, 128, 64, 3), 'sides of 57 to 72 px'),
    ('tsn_bninception_flow', (1, 3, 64, 64, 3), r'clips \[B T H W 10\]'),
  ],
)
def test_inputs_that_do_not_fit_are_refused(name, shape, message):
  model = nnx.eval_shape(lambda: fj.create_model(name, 5))
  graphdef, state = nnx.split(model)
  run = lambda state, x: nnx.merge(graphdef, state)(x)  # noqa: E731
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(run, state, jax.ShapeDtypeStruct(shape, np.float32))


def test_a_two_stream_network_takes_sides_with_its_last_map():
  sides = [n for n in range(180, 260) if two_stream.map_side(n) == 6]
  assert sides == list(range(201, 233))


def test_correlation_multiplies_with_neighbors_by_row_then_column():
  rng = np.random.default_rng(0)
  x, other = rng.standard_normal((2, 1, 3, 4, 5)).astype(np.float32)
  found = np.asarray(correlation.correlation(x, other))
  assert found.shape == (1, 3, 4, 225)
  expected = np.zeros((3, 4, 15, 15))
  for y, z, i, j in np.ndindex(3, 4, 15, 15):
    row, column = y + i - 7, z + j - 7
    if 0 <= row < 3 and 0 <= column < 4:
      expected[y, z, i, j] = x[0, y, z] @ other[0, row, column]
  np.testing.assert_allclose(
    found[0].reshape(3, 4, 15, 15), expected, atol=1e-5
  )


def test_a_clip_that_moves_has_a_displacement():
  rng = np.random.default_rng(0)
  x = rng.standard_normal((1, 20, 20, 32)).astype(np.float32)
  x = x / np.linalg.norm(x, axis=-1, keepdims=True)
  moved = np.roll(x, (2, -3), axis=(1, 2))  # Down 2, left 3.
  found = correlation.correlation(x, moved)
  flow = np.asarray(motion_squeeze.displacement(found))[0, 8:12, 8:12]
  np.testing.assert_allclose(flow[..., 0], -3 / 7, atol=0.02)
  np.testing.assert_allclose(flow[..., 1], 2 / 7, atol=0.02)
  np.testing.assert_allclose(flow[..., 2], 1, atol=1e-5)


def test_channels_are_shifted_by_one_frame_with_zeros_at_the_ends():
  x = np.arange(1, 4, dtype=np.float32).reshape(1, 3, 1, 1, 1).repeat(8, -1)
  found = np.asarray(motion_squeeze.shift_frames(x))[0, :, 0, 0]
  np.testing.assert_array_equal(found[:, 0], [2, 3, 0])
  np.testing.assert_array_equal(found[:, 1], [0, 1, 2])
  np.testing.assert_array_equal(found[:, 2:], x[0, :, 0, 0, 2:])
  learned = np.asarray(tdn.Shift(8, dtype=np.float32)(x))[0, :, 0, 0]
  np.testing.assert_array_equal(learned, found)
