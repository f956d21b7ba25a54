# SPDX-License-Identifier: Apache-2.0
"""What a config leaves open is chosen by the videos and the device."""

import functools
import json
import pathlib

from flax import nnx
import pytest

from configs import common, folder
import flatten_jax as fj
from flatten_jax.models.layers import norms
from flatten_jax.runtime import context, model_factory
from flatten_jax.runtime.configuration import (
  config as configs,
  config_rules,
  few_videos,
  recipes,
)
from flatten_jax.runtime.configuration.config_keys import value_of
from flatten_jax.runtime.configuration.few_videos import Facts

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
  """No weights are installed, unless a test says so."""
  monkeypatch.setattr(few_videos, '_weights', lambda name: '')


def chosen(arg='', changes=None, **facts):
  config = configs.complete(folder.get_config(arg))
  with config.ignore_type():
    config.update_from_flattened_dict(changes or {})
  return recipes.choose(config, Facts(**facts))[0]


CPU, GPU = {'device': 'cpu'}, {'device': 'gpu'}
CHOICES = [
  (CPU, 'model.name', 'uniformer_nano'),
  (GPU, 'model.name', 'uniformer_nano'),
  (CPU, 'data.num_frames', 9),
  (GPU, 'data.num_frames', 9),
  (CPU | {'lengths': (4, 5, 6)}, 'data.num_frames', 4),
  (CPU, 'data.crop', 32),
  (GPU, 'data.crop', 32),
  (CPU, 'channels', 'motion'),
  (GPU, 'channels', 'motion'),
  (CPU | {'train': 12}, 'batch_size', 4),
  (CPU | {'train': 100}, 'batch_size', 16),
  (CPU | {'train': 5000}, 'batch_size', 24),
  (GPU | {'train': 5000}, 'batch_size', 24),
  (GPU | {'train': 12, 'devices': 8}, 'batch_size', 8),
  (CPU | {'train': 12}, 'epochs', 150.0),
  (CPU | {'train': 1000}, 'epochs', 100.0),
  (CPU | {'train': 9000}, 'epochs', 20.0),
  (CPU | {'train': 1000}, 'warmup_epochs', 10.0),
  (CPU, 'mixup', 0.0),
  (GPU, 'mixup', 0.0),
  ({'largest': 30, 'smallest': 20}, 'data.balanced', False),
  ({'largest': 31, 'smallest': 20}, 'data.balanced', True),
  ({'val': 0}, 'test_checkpoint', 'last'),
  ({'val': 20}, 'test_checkpoint', 'best'),
  ({'val': 20}, 'patience', 0.0),
  ({'val': 20}, 'refit', False),  # Tested on them, without a test split.
  ({'test': 50}, 'refit', False),
  ({'val': 20, 'test': 50}, 'refit', True),
  ({'val': 20, 'test': 50}, 'test_checkpoint', 'last'),
  ({}, 'data.flip', True),
  ({'side': 'turn left'}, 'data.flip', False),
  ({}, 'data.num_clips', 5),
  ({}, 'order_report', True),
]


@pytest.mark.parametrize(('facts', 'key', 'value'), CHOICES)
def test_each_choice_follows_the_videos_and_the_device(facts, key, value):
  assert value_of(chosen(**facts), key) == value


LARGE = [
  (GPU, 'data.num_frames', 16),
  (GPU | {'lengths': (8, 10, 30)}, 'data.num_frames', 9),
  (CPU, 'data.crop', 64),
  (GPU, 'data.crop', 112),
  (GPU | {'lengths': (9,)}, 'data.crop', 128),
  (GPU, 'channels', ''),
  (GPU | {'train': 5000}, 'batch_size', 16),
  (GPU, 'mixup', 0.8),
  (GPU, 'batch_norm_frozen', 'none'),
]


@pytest.mark.parametrize(('facts', 'key', 'value'), LARGE)
def test_a_larger_network_from_random_weights(facts, key, value):
  assert value_of(chosen('model=uniformer_xxs', **facts), key) == value


def test_installed_weights_are_used(monkeypatch):
  lite = 'efficientnet_lite0'
  installed = {lite: 'imagenet1k', 'uniformer_nano': 'motions'}
  monkeypatch.setattr(few_videos, '_weights', lambda n: installed.get(n, ''))
  assert chosen(**GPU).model.pretrained == 'motions'
  assert chosen(**CPU).model.pretrained == 'motions'
  assert chosen(**CPU).channels == ''  # As the weights were trained.
  assert chosen(**CPU).batch_norm_frozen == 'all'
  colors = chosen('', {'channels': 'rgb'}, **CPU)
  assert colors.model.pretrained == 'motions_rgb'
  assert (colors.channels, colors.batch_norm_frozen) == ('rgb', 'all')
  assert chosen('', {'channels': 'bgr'}, **CPU).batch_norm_frozen == 'none'
  assert chosen('', {'clip_model': 'average'}, **CPU).model.pretrained == ''
  assert chosen('', {'data.input': 'flow'}, **CPU).model.pretrained == ''
  assert chosen('', {'clip_model': 'one_frame'}, **CPU).data.num_clips == 1
  assert chosen('', {'data.sampling': 'vtn'}, **CPU).data.num_clips == 1
  known = chosen(f'model={lite}', **GPU)
  assert known.model.pretrained == 'imagenet1k'
  assert (known.mixup, known.cutmix, known.batch_norm_frozen) == (0, 0, 'all')
  assert chosen('model=uniformer_s', **GPU).model.pretrained == ''


@pytest.mark.parametrize('facts', [CPU, GPU, GPU | {'train': 9}, {'val': 30}])
@pytest.mark.parametrize(
  'arg',
  [
    '',
    'model=uniformer_nano',
    'model=resnet50,frames=4',
    'model=slowfast_r50',
    'flatten=nested',
    'flatten=random,frames=9',
  ],
)
def test_whatever_is_chosen_is_a_valid_config(arg, facts):
  config = configs.fill_and_check(chosen(arg, **facts))
  assert None not in configs.flat(config).values()


@pytest.mark.parametrize('name', fj.list_models())
def test_every_model_accepts_what_is_chosen_for_it(name):
  for device in ('cpu', 'gpu'):
    changes = {'model.pretrained': 'runs/earlier'}
    config = chosen(f'model={name}', changes, device=device)
    config = configs.fill_and_check(config)
  model = nnx.eval_shape(
    functools.partial(model_factory.build_model, config, num_classes=2)
  )
  frozen = any(
    module.frozen
    for _, module in nnx.iter_modules(model)
    if isinstance(module, norms.BatchNorm)
  )
  assert frozen == (config.batch_norm_frozen == 'all')


def test_nothing_is_chosen_that_needs_the_layers_of_another_package():
  changes = {
    'model.name': 'tests.support.plain_cnn:build_nnx',
    'model.drop_path_rate': 0.0,
    'model.pretrained': 'runs/earlier',
  }
  config = configs.fill_and_check(chosen('', changes, **GPU))
  assert config.layer_decay == 1
  nnx.eval_shape(functools.partial(model_factory.build_model, config, 2))


FITTING = [
  ('uniformer3d_s', GPU, 16, 128),
  ('swinv2_t', GPU, 16, 128),
  ('two_stream_spatial', CPU, 1, 201),
  ('tdn_r50', GPU, 40, 128),
]


@pytest.mark.parametrize(('name', 'facts', 'frames', 'crop'), FITTING)
def test_the_clips_are_the_nearest_that_a_model_takes(
  name, facts, frames, crop
):
  data = chosen(f'model={name}', **facts).data
  assert (data.num_frames, data.crop) == (frames, crop)


def test_the_page_about_own_videos_names_every_choice():
  page = (ROOT / 'docs' / 'own_videos.md').read_text()
  keys = recipes.open_keys(configs.complete(folder.get_config()))
  assert [key for key in keys if f'`{key}`' not in page] == []


def test_no_epochs_are_refused_and_those_of_other_configs_are_chosen():
  with pytest.raises(ValueError, match=r'epochs must be .* got 0\.0; -1 choo'):
    configs.fill_and_check(chosen(changes={'epochs': 0.0}))
  config = chosen(changes={'epochs': -1.0}, train=1000)
  config = configs.resolve(
    configs.fill_and_check(config), {'train': range(1000)}
  )
  assert (config.epochs, config.warmup_epochs) == (100.0, 10.0)


def test_values_that_are_given_win_and_others_follow_them():
  config = chosen(changes={'lr': 0.5, 'data.crop': 64, 'epochs': 30.0})
  assert (config.lr, config.data.crop, config.epochs) == (0.5, 64, 30.0)
  assert (config.data.short_side, config.warmup_epochs) == (80, 3.0)
  config = chosen('model=uniformer_xxs', device='cpu')
  assert (config.model.name, config.data.crop) == ('uniformer_xxs', 64)


@pytest.mark.parametrize(
  ('changes', 'frames'),
  [
    ({'grid': (2, 4)}, 8),
    ({'clip_model': 'one_frame'}, 1),
    ({'flatten': 'nested'}, 16),
  ],
)
@pytest.mark.parametrize('lengths', [(), (5, 5)])
def test_the_frames_fit_the_layout(changes, frames, lengths):
  config = chosen(changes=changes, lengths=lengths)
  assert config.data.num_frames == frames
  configs.fill_and_check(config)


def test_an_area_is_chosen_only_of_crops_that_have_one():
  assert chosen().data.crop_area == (0.5, 1.0)
  config = chosen(changes={'data.crop_method': 'scale'})
  configs.fill_and_check(config)


def test_a_model_of_clips_gets_sixteen_frames_on_any_device():
  for device in ('cpu', 'tpu'):
    config = chosen('model=slowfast_r50', device=device, lengths=(5,))
    assert config.data.num_frames == 16


@pytest.mark.parametrize(
  'changes',
  [
    {'test_checkpoint': 'best'},
    {'patience': 5.0},
    {'data.weighted': True},
    {'data.multi_label': True},  # Thresholds come from the validation.
  ],
)
def test_a_flag_that_a_refit_cannot_follow_turns_it_off(changes):
  config = chosen(changes=changes, val=20, test=50)
  assert not config.refit
  assert config.test_checkpoint == 'best'
  configs.fill_and_check(config)


@pytest.mark.parametrize(
  ('changes', 'channels'),
  [
    ({}, 'motion'),
    ({'clip_model': 'average'}, ''),
    ({'clip_model': 'one_frame'}, ''),
    ({'data.input': 'flow'}, ''),
    ({'model.pretrained': 'runs/mine'}, ''),
    ({'channels': 'rgb'}, 'rgb'),
    ({'model.name': 'resnet50'}, ''),
  ],
)
def test_colors_become_motion_where_a_clip_has_motion(changes, channels):
  assert chosen('', changes, **CPU).channels == channels


@pytest.mark.parametrize(
  ('name', 'sided'),
  [
    ('left', True),
    ('down_right', True),
    ('TurnLeft', True),
    ('Pushing [something] from right to left', True),
    ('counter-clockwise', True),
    ('7', True),
    ('b', True),
    ('fight', False),
    ('good_bye', False),
    ('brightness', False),
    ('CleanAndJerk', False),
  ],
)
def test_names_tell_whether_a_flip_may_change_the_class(name, sided):
  assert recipes.names_side(name) == sided


def test_optical_flow_has_no_colors_to_change():
  config = chosen(changes={'data.input': 'flow'})
  assert configs.fill_and_check(config).data.color_jitter == 0


def test_a_value_is_left_open_to_the_recipe_only():
  config = folder.get_config()
  config.recipe = ''
  with pytest.raises(ValueError, match=r'None; only what configs/folder\.py'):
    configs.fill_and_check(configs.complete(config))
  config = folder.get_config()
  with config.ignore_type():
    config.mesh.model = None
  assert 'mesh.model' not in recipes.open_keys(config)
  with pytest.raises(ValueError, match=r'mesh\.model must be .*; got None'):
    config_rules.check_all(config, open_keys=recipes.open_keys(config))
  config = common.base()
  common.leave_open(config, 'lr')
  config.lr = 1  # It keeps its type.
  assert isinstance(config.lr, float)


@pytest.fixture
def small(clips_root):
  """The config of folder.py on tiny clips, with a tiny model."""
  config = folder.get_config('model=uniformer_test,frames=4')
  config.data.root, config.data.crop = str(clips_root), 16
  config.order_report, config.compile_cache = False, ''
  config.epochs, config.warmup_epochs = 0.4, 0.1
  config.model.unlock()
  config.model.depth = (1, 0, 1, 0)  # Compiles faster.
  return config


def test_an_open_run_has_chosen_and_opened_the_videos_once(
  small, tmp_path, capsys
):
  with context.open_run(small, tmp_path) as run:
    assert run.config.lr == 5e-4
    assert run.config.batch_size == 8  # There are eight devices.
    assert len(run.open_videos()['train']) == 24
  lines = capsys.readouterr().out
  assert lines.count('12 classes; videos') == 1
  assert lines.count('Chosen for 24 training videos on a CPU') == 1
  assert '--config.lr=0.0005 ' in lines
  assert '--config.epochs' not in lines  # It was given.


def test_the_model_may_be_open_where_sides_tell_classes(clips_root, tmp_path):
  config = folder.get_config()
  config.data.root, config.data.flip = str(clips_root), False
  config.compile_cache = ''
  with context.open_run(config, tmp_path) as run:
    assert run.config.model.name and not run.config.data.flip


def test_a_resumed_run_keeps_what_it_chose(small, tmp_path, monkeypatch):
  fj.train_and_evaluate(small, tmp_path)
  info = json.loads((tmp_path / 'run.json').read_text())
  assert None not in configs.flat(info['config']).values()
  assert info['config']['recipe'] == 'few_videos'
  few = dict(recipes._devices(configs.complete(small)), device='gpu')
  monkeypatch.setattr(recipes, '_devices', lambda config: few)
  again = small.copy_and_resolve_references()
  common.leave_open(again, 'epochs', 'data.num_frames', 'model.drop_path_rate')
  with context.open_run(again, tmp_path, exclusive=True) as run:
    found = run.config
  saved = configs.saved_config_of(tmp_path)
  for key in recipes.open_keys(again):
    assert value_of(found, key) == value_of(saved, key)
  state = fj.train_and_evaluate(again, tmp_path)  # There is nothing left.
  assert int(state.step) == 1 + 1  # Of the refit.
  fj.evaluate(again, tmp_path, split='train')


@pytest.mark.parametrize(
  ('lengths', 'frames', 'sentence'),
  [
    ((20, 30), 16, ''),
    ((16, 16), 16, ''),
    (
      (9, 10, 15, 40),
      16,
      '3 of 4 training videos that were looked at have fewer frames than the '
      '16 of a clip (9 to 15), so theirs are repeated evenly, in order; with '
      '--config.data.num_frames=9 only 0 have fewer',
    ),
    ((2, 3, 50), 4, '2 of 3 '),
  ],
)
def test_short_videos_are_counted_and_a_number_of_frames_is_named(
  lengths, frames, sentence
):
  config = chosen(f'frames={frames}')
  assert recipes.short_clips(lengths, config).startswith(sentence)


@pytest.mark.parametrize(
  ('changes', 'advice'),
  [
    ({'flatten': 'nested', 'data.num_frames': 16}, ''),
    ({'flatten': 'nested', 'data.num_frames': 36}, '=16 only 1 '),
    ({'grid': (2, 8)}, ''),
  ],
)
def test_only_a_number_of_frames_that_the_layout_takes_is_named(
  changes, advice
):
  text = recipes.short_clips((12, 20, 20), chosen(changes=changes))
  assert ('data.num_frames' in text) == bool(advice)
  assert advice in text
