# SPDX-License-Identifier: Apache-2.0
"""The tensors of a model in checkpoints of any framework."""

import ml_dtypes
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.models.weights import state_dicts
from flatten_jax.models.weights.formats import errors, torch_files
from tests.support import torch_writer

NAMES = ('conv1.weight', 'layer1.0.bn.weight', 'layer1.0.bn.bias', 'fc.weight')
WEIGHTS = {name: np.full(3, i, np.float32) for i, name in enumerate(NAMES)}
AVERAGE = {name: value + 10 for name, value in WEIGHTS.items()}
OPTIMIZER = {
  'state': {
    i: {'exp_avg': v, 'step': v} for i, v in enumerate(WEIGHTS.values())
  },
  'param_groups': [{'lr': 0.1, 'params': [0, 1]}],
}


@pytest.fixture(autouse=True)
def warnings(caplog):
  """Sees warnings alone, also where a run has opened its log before."""
  caplog.set_level('WARNING', 'flatten_jax')


def find(content):
  return state_dicts.find(content, [{'other'}, set(NAMES)], 'x.pth')[1]


def under(prefix, weights=WEIGHTS):
  return {prefix + name: value for name, value in weights.items()}


def assert_found(content, expected):
  found = find(content)
  assert found.keys() - {'n_averaged'} == expected.keys()
  for name, value in expected.items():
    np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize(
  'prefix',
  [
    'module.',
    '_orig_mod.',
    'module._orig_mod.',
    '_orig_mod.module.',
    '_fsdp_wrapped_module.',
    'model.',
    'backbone.',
    'net.encoder.',
    'model.module.backbone._orig_mod.',
    'ema_model.module.',
    '1.',
  ],
)
@pytest.mark.parametrize('nested', [(), ('model',), ('module',), ('a', 'b')])
def test_a_prefix_goes_away_with_one_line(prefix, nested, caplog):
  caplog.set_level('INFO', 'flatten_jax')
  content = under(prefix)
  for key in nested:
    content = {key: content, 'optimizer': OPTIMIZER, 'epoch': 3}
  assert_found(content, WEIGHTS)
  (message,) = caplog.messages
  assert message == (
    f'Names in x.pth are shortened: {prefix}conv1.weight is conv1.weight'
  )


def test_a_wrapper_may_stand_in_the_middle_of_some_names():
  renamed = {
    name.replace('layer1.', 'layer1._checkpoint_wrapped_module.'): value
    for name, value in WEIGHTS.items()
  }
  assert_found(renamed, WEIGHTS)


@pytest.mark.parametrize(
  ('content', 'taken', 'others'),
  [
    ({'state_dict': WEIGHTS, 'state_dict_ema': AVERAGE}, 'state_dict_ema', 1),
    (
      {'model': WEIGHTS, 'model_ema': under('module.', AVERAGE)},
      'model_ema',
      1,
    ),
    ({'params': WEIGHTS, 'params_ema': AVERAGE}, 'params_ema', 1),
    (
      {
        'student': under('module.backbone.'),
        'teacher': under('backbone.', AVERAGE),
      },
      'teacher.backbone',
      1,
    ),
    (
      {'state_dict': under('net.') | under('ema_model.module.', AVERAGE)},
      'state_dict.ema_model',
      1,
    ),
    (WEIGHTS | {'ema': AVERAGE}, 'ema', 1),
    ({'model': WEIGHTS | {'ema': AVERAGE}}, 'model.ema', 1),
    ({'model': WEIGHTS, 'EMA': AVERAGE}, 'EMA', 1),
    ({'model': WEIGHTS, 'model_averages': AVERAGE}, 'model_averages', 1),
    ({'a': AVERAGE, 'b': WEIGHTS, 'c': WEIGHTS}, 'a', 2),
    # Averages of trainable parameters alone lack the statistics.
    ({'model': AVERAGE, 'ema': dict(list(WEIGHTS.items())[:3])}, 'model', 1),
  ],
)
def test_one_of_several_sets_is_taken_and_said(content, taken, others, caplog):
  assert_found(content, AVERAGE)
  (message,) = caplog.messages
  assert f'has {others + 1} sets' in message
  assert f'; {taken!r} is taken' in message


@pytest.mark.parametrize(
  'content',
  [
    {'model_ema': WEIGHTS},
    {'n_averaged': np.array(3)} | under('module.'),
    ['epoch', {'weights': WEIGHTS}],
    {'optimizer': {'m': AVERAGE}, 'exp_avg': AVERAGE, 'model': WEIGHTS},
    {'state_dict': WEIGHTS, 'hyper_parameters': {'lr': np.array(0.1)}},
    {'model': WEIGHTS, 'optimizer': OPTIMIZER, 'rng': np.zeros(5, np.uint8)},
    {'opt_state': [{'mu': AVERAGE, 'nu': AVERAGE}], 'params': WEIGHTS},
    {'model': WEIGHTS, 'ema': {'shadow_params': list(AVERAGE.values())}},
    {'model': WEIGHTS, 'best': dict(list(AVERAGE.items())[:1])},
  ],
)
def test_what_surrounds_the_weights_does_not_matter(content, caplog):
  assert_found(content, WEIGHTS)
  assert not caplog.messages


def test_tensors_at_the_side_of_a_model_are_said(caplog):
  content = under('model.') | {'criterion.center': np.zeros(2)}
  assert_found(content, WEIGHTS)
  assert caplog.messages == ['Not of the model, and not used: criterion.center']


@pytest.mark.parametrize('head', ['cls_head.fc_cls', 'head', 'classifier'])
def test_a_head_apart_from_its_backbone_is_found(head, caplog):
  caplog.set_level('INFO', 'flatten_jax')
  content = under('backbone.')
  content[f'{head}.weight'] = content.pop('backbone.fc.weight')
  assert_found({'meta': {}, 'state_dict': content}, WEIGHTS)
  assert f'{head}.weight of the file is fc.weight' in caplog.text


def test_a_head_in_another_container_is_found():
  backbone = {k: v for k, v in WEIGHTS.items() if k != 'fc.weight'}
  head = {'weight': WEIGHTS['fc.weight']}
  assert_found({'backbone': backbone, 'classifier': head}, WEIGHTS)
  assert_found(backbone | {'optimizer': OPTIMIZER, 'fc': head}, WEIGHTS)


def test_tensors_of_other_containers_are_listed(caplog):
  content = {'model': WEIGHTS, 'loss': {'center': np.zeros(2, np.float32)}}
  *_, unused = state_dicts.find(content, [set(NAMES)], 'x.pth')
  assert unused == ['loss.center']
  assert caplog.messages == ['Not of the model, and not used: loss.center']
  model = fj.create_model('uniformer_test', 5)
  report = fj.load_torch(model, content | {'model': fj.export_torch(model)})
  assert report.dropped == ('loss.center',)


def test_what_another_set_of_weights_has_beside_it_is_not_listed(caplog):
  student = {
    'backbone': WEIGHTS,
    'head': {'mlp.weight': np.zeros(2, np.float32)},
  }
  content = {'student': student, 'teacher': {'backbone': AVERAGE}}
  assert_found(content, AVERAGE)
  assert not any('not used' in message for message in caplog.messages)


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'float64'])
def test_other_precisions_are_said(dtype, caplog):
  caplog.set_level('INFO', 'flatten_jax')
  dtype = getattr(ml_dtypes, dtype, dtype)
  assert_found({k: v.astype(dtype) for k, v in WEIGHTS.items()}, WEIGHTS)
  assert f'4 tensors are {np.dtype(dtype).name}' in caplog.text


@pytest.mark.parametrize(
  ('value', 'text'),
  [
    (np.zeros(3, np.int8), r'fc\.weight \(int8\)'),
    (np.zeros(3, np.complex64), r'fc\.weight \(complex64\)'),
    (errors.Unreadable('sparse'), r'fc\.weight \(sparse\)'),
  ],
)
def test_what_is_not_a_plain_number_is_refused_by_name(value, text):
  with pytest.raises(ValueError, match=rf'x\.pth .*{text}\. Save them as'):
    find({'model': under('module.') | {'module.fc.weight': value}})


def test_values_that_are_not_finite_are_warned_of(caplog):
  broken = np.array([1, np.nan], np.float32)
  find(dict.fromkeys(NAMES, broken))
  (message,) = caplog.messages
  assert message.startswith('x.pth has infinite values or NaN in conv1.weight,')


@pytest.mark.parametrize(
  ('content', 'text'),
  [
    ({'epoch': 3, 'lr': 0.1}, r"it has 'epoch' \(int\), 'lr' \(float\)"),
    ({'model': torch_files.Placeholder()}, r"'model' \(Placeholder\)"),
    ({}, 'it has nothing'),
    (np.zeros(3), 'an object of ndarray'),
  ],
)
def test_a_file_without_tensors_is_refused_with_what_it_has(content, text):
  with pytest.raises(
    ValueError, match=f'does not hold named tensors; .*{text}'
  ):
    find(content)


def test_names_that_do_not_fit_give_a_short_error(tmp_path):
  path = tmp_path / 'x.pth'
  torch_writer.save(
    path, {f'layers.{i}.weight': np.zeros(3) for i in range(99)}
  )
  with pytest.raises(ValueError, match='and 94 more') as error:
    fj.create_model('uniformer_test', pretrained=str(path))
  assert len(str(error.value)) < 700
  assert 'of whose 90 tensors they have 0' in str(error.value)
