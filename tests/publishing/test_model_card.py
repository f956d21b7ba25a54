# SPDX-License-Identifier: Apache-2.0
"""The model card: metadata for the Hub, and what a reader has to know."""

import json
import shutil

import pytest
import yaml

import flatten_jax as fj
from flatten_jax.checkpoints.load import load_model
from flatten_jax.publishing import model_card


def split(card: str) -> tuple[dict, str]:
  """Returns the metadata and the text of a card."""
  _, front, body = card.split('---\n', 2)
  return yaml.safe_load(front), body


@pytest.fixture(scope='module')
def model(run):
  return load_model(run)


@pytest.fixture(scope='module')
def card(run, model):
  return split(model_card.text(model, run, address='hf://alice/motions'))


def test_the_metadata_is_what_the_hub_reads(card, run, model):
  front, _ = card
  assert front['library_name'] == 'flatten_jax'
  assert front['pipeline_tag'] == 'video-classification'
  assert 'license' not in front and 'base_model' not in front
  (entry,) = front['model-index']
  assert entry['name'] == 'motions'
  first, second = entry['results']  # Not that of another step.
  assert first['dataset']['split'] == 'test'
  assert first['metrics'][0] == {
    'type': 'accuracy',
    'name': 'top-1, 16 px, 4 frames, 1 crop, 1 clip',
    'value': 0.875,
  }
  assert '3 crops, 4 clips' in second['metrics'][0]['name']
  text = model_card.text(model, run, license='cc-by-4.0', dataset='My motions')
  front, body = split(text)
  assert front['license'] == 'cc-by-4.0'
  (entry,) = front['model-index']
  assert entry['results'][0]['dataset']['name'] == 'My motions'
  assert '| data | My motions, 12 classes |' in body
  assert 'cc-by-4.0, for what is the author' in body


def test_the_hub_s_own_reader_takes_it(card, run, model):
  library = pytest.importorskip('huggingface_hub')
  text = model_card.text(model, run, address='hf://alice/motions')
  data = library.ModelCard(text).data
  assert data.eval_results[0].metric_value == 0.875
  assert data.eval_results[0].task_type == 'video-classification'


def test_the_result_has_its_interval_chance_views_and_cost(card):
  row = next(x for x in card[1].splitlines() if x.startswith('| test |'))
  cells = [cell.strip() for cell in row.strip('|').split('|')]
  assert cells == [
    'test',
    '16 px, 4 frames, 1 crop, 1 clip',
    '87.50',
    '69 to 96',
    '8.33',
    '24 of 24',
    '0.25 x 1',
  ]
  assert 'the network was right 21 times' in card[1]
  assert '- Only 24 test videos: it is uncertain.' in card[1]


def test_it_says_how_it_was_trained_and_how_to_use_it(card):
  body = card[1]
  assert '| videos | 12 train, 12 val, 12 test |' in body
  assert '| began with | random weights |' in body
  assert "fj.from_pretrained('alice/motions')" in body
  assert 'flatten-jax predict hf://alice/motions clip.mp4' in body
  assert '--config.model.pretrained=hf://alice/motions' in body
  assert 'No licence was chosen for these weights.' in body
  assert 'Classes: clockwise, counter_clockwise, ' in body
  assert f'flatten_jax {fj.__version__}, trained at commit ' in body
  assert '{' not in body and 'None' not in body


@pytest.mark.parametrize(
  ('results', 'words'),
  [
    ('{}', '**These weights have not been tested**, as far as the run knows'),
    ('older', 'The run has results of other ones'),
  ],
)
def test_weights_without_a_test_get_a_card_that_says_so(
  run, model, tmp_path, results, words
):
  workdir = tmp_path / 'run'
  workdir.mkdir()
  shutil.copytree(run / 'checkpoints', workdir / 'checkpoints')
  if results == 'older':
    found = json.loads((run / 'results.json').read_text())
    results = json.dumps({'test': found['test_step_9']})
  (workdir / 'results.json').write_text(results)
  front, body = split(model_card.text(model, workdir))
  assert 'model-index' not in front and 'metrics' not in front
  assert words in body
  assert '87.50' not in body
  assert '| data | videos without a public name, 12 classes |' in body


@pytest.mark.parametrize(
  ('source', 'words'),
  [
    ('hf://bob/old@v1', '(https://huggingface.co/bob/old), revision v1'),
    ('imagenet1k', '`efficientnet_lite0/imagenet1k`'),
    ('/home/alice/run', 'weights of an earlier run, or of a file'),
  ],
)
def test_it_names_where_it_began_but_no_path(tmp_path, source, words):
  class Model:
    name, pretrained = 'efficientnet_lite0', source

  assert words in model_card._start(tmp_path, Model)
  assert 'alice' not in model_card._start(tmp_path, Model)


def test_a_published_data_set_has_its_name(model):
  run = {'config_file': 'configs/hmdb51_uniformer_s.py:fold=1'}
  assert model_card._data_of(model.config, run, 51) == 'HMDB51'
  assert model_card._data_of(model.config, run, 12) == ''
  assert model_card._data_of(model.config, {}, 51) == ''


def test_names_are_text():
  assert (
    model_card._plain('a|b <b>*c*\n_d') == r'a\|b \<b\>\*c\*' + '\ufffd\\_d'
  )
