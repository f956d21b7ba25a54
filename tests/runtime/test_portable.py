# SPDX-License-Identifier: Apache-2.0
"""config.json of a model from anybody: what is taken along, and refused."""

import json

import pytest

from flatten_jax import hub
from flatten_jax.runtime import portable
from flatten_jax.runtime.configuration import (
  config as configs,
  config_keys,
  default_config,
)

NAMES = ('left', 'right')


@pytest.fixture
def config():
  config = default_config.base()
  config.model.name = 'uniformer_test'
  return configs.fill_and_check(config)


@pytest.fixture
def folder(config, tmp_path):
  portable.write(tmp_path, NAMES, config.to_dict(), step=3, thresholds=[])
  return tmp_path


def edit(folder, **changes) -> None:
  """Changes entries of config.json, and of its config."""
  path = folder / hub.CONFIG
  described = json.loads(path.read_text())
  described['config'] |= changes.pop('config', {})
  path.write_text(json.dumps(described | changes))


def test_what_is_read_is_what_was_written(folder, config):
  found = portable.read(folder)
  assert (found['class_names'], found['step']) == (NAMES, 3)
  read = configs.flat(configs.config_of_model(folder))
  defaults, ours = configs.flat(default_config.base()), configs.flat(config)
  for key in config_keys.known_keys():
    kept = key in portable.keep(ours)
    assert read[key] == (ours if kept else defaults)[key], key


def test_a_key_without_effect_of_an_earlier_version_is_read(folder):
  edit(folder, config={'optimizer': 'sgd', 'beta1': 0.8})
  assert configs.config_of_model(folder).beta1 == 0.8


# A key that is not here is one that nobody has thought of yet.
TEXTS = {
  'model.name',
  'flatten',
  'data.views',
  'data.randaugment',
  'batch_norm',
  'batch_norm_frozen',
  'channels',
  'clip_model',
  'data.crop_method',
  'data.erasing_fill',
  'data.flow_method',
  'data.input',
  'data.motions',
  'data.sampling',
  'eval_average',
  'eval_frame_order',
  'freeze',
  'mix_partners',
  'mix_stage',
  'model.dtype',
  'optimizer',
  'save_best_by',
  'schedule',
}


def test_the_only_texts_that_are_taken_along_name_no_place(config):
  kept = portable.keep(config.to_dict())
  assert {k for k, v in kept.items() if isinstance(v, str)} == TEXTS
  defaults = configs.flat(default_config.base())
  assert set(portable.LEFT_OUT) <= defaults.keys()


@pytest.mark.parametrize(
  'planted',
  [
    {'data.root': '/home'},
    {'data': {'root': '/home', 'test': '/etc/passwd'}},  # In groups.
    {'data.divisions': '/home'},  # By its earlier name.
    {'data.index': '/home/x', 'compile_cache': '/home/x'},
    {'loggers': ['evil:Logger']},
    {'model.pretrained': 'https://example.com/weights.pkl'},
    {'coordinator': 'example.com:1', 'distributed': True, 'process_id': 1},
    {'data.workers': 64, 'data.class_names': '/etc/passwd'},
  ],
)
def test_what_could_read_or_run_something_is_not_read(folder, planted):
  before = configs.config_of_model(folder)
  edit(folder, config=planted)
  assert configs.config_of_model(folder) == before


@pytest.mark.parametrize(
  ('changes', 'words'),
  [
    ({'config': {'model.name': 'os:system'}}, 'is code of your own, which a'),
    ({'config': {'flatten': 'os:system'}}, 'is code of your own, which a fol'),
    ({'config': {'flatten': 'spiral'}}, 'spiral'),
    ({'config': {'data.crop': -1}}, r'data\.crop must be a whole number'),
    ({'config': {'data.crop': [1]}}, r'data\.crop must be a whole number'),
    ({'config': {'model.width': 7}}, 'uniformer_test has no option width'),
    ({'config': {'new_key': 7}}, 'There is no config.new_key'),
    ({'format': 99}, 'later version of flatten_jax'),
    ({'format': 'x'}, 'does not describe a model of flatten_jax'),
    ({'id2label': {}}, 'id2label has to name each class'),
    ({'id2label': {'0': 'left', '2': 'right'}}, 'does not describe a model'),
    ({'id2label': {'0': 7}}, 'id2label has to name each class'),
    ({'thresholds': [0.5]}, 'thresholds has a number for each, or none'),
    ({'step': None}, 'does not describe a model of flatten_jax'),
  ],
)
def test_other_values_are_refused(folder, changes, words):
  edit(folder, **changes)
  with pytest.raises(ValueError, match=words) as error:
    configs.config_of_model(folder)
  assert str(error.value).count(str(folder)) == 1


def test_other_folders_are_no_models(tmp_path):
  for text in ('', '[]', '{}', '{"library_name": "timm"}'):
    (tmp_path / hub.CONFIG).write_text(text)
    assert not portable.is_model(tmp_path)
    assert configs.config_of_model(tmp_path) is None


def test_names_of_classes_may_be_in_any_script(config, tmp_path):
  names = ('gauche', '左', 'not utf-8: \udcff')
  portable.write(tmp_path, names, config.to_dict(), step=0, thresholds=[])
  assert portable.read(tmp_path)['class_names'][:2] == names[:2]
