# SPDX-License-Identifier: Apache-2.0
"""Training and evaluation on prepared sets, with classes matched by name."""

import json
import pathlib

import numpy as np
import optax
import pytest

from data.annotations import Sources
from data.data_sets import DATA_SETS
from data.prepare import prepare
import flatten_jax as fj
from flatten_jax.checkpoints.checkpoints import Checkpoints, RunInfo
from flatten_jax.checkpoints.initial_weights import initial_weights
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.state import TrainState

# The first classes of UniFormer's list of Kinetics, whose order is unknown; and
# the same in alphabetical order, as in MMAction2's list.
UNIFORMER = ('riding a bike', 'marching', 'dodgeball')
ALPHABETICAL = tuple(sorted(UNIFORMER))
SPLITS = ('train', 'val')


def test_a_prepared_set_and_its_files_give_the_same_scores(
  config, clips_root, tmp_path
):
  sources = Sources([], [clips_root])
  prepare(DATA_SETS['folder'], sources, tmp_path / 'set', progress=False)
  workdir = tmp_path / 'run'
  config.data.root = str(tmp_path / 'set')
  fj.train_and_evaluate(config, workdir)
  scores, stored = scores_and_logits(workdir, 'test')
  assert (scores['videos'], scores['scored']) == (12, 12)
  config.data.root = str(clips_root)
  name = fj.evaluate(config, workdir)['name']
  again, raw = scores_and_logits(workdir, name)
  assert again == scores and raw.keys() == stored.keys()
  for key in raw:
    np.testing.assert_array_equal(raw[key], stored[key], key)


@pytest.fixture(scope='module')
def publications(clips_root, tmp_path_factory):
  """Three classes in two published lists and in a prepared set."""
  root = tmp_path_factory.mktemp('kinetics')
  folders = sorted(p.name for p in (clips_root / 'train').iterdir())[:3]
  named = dict(zip(UNIFORMER, folders, strict=True))
  for publisher, order in (('uf', UNIFORMER), ('mm', ALPHABETICAL)):
    (root / publisher).mkdir()
    line = '{},{}\r\n' if publisher == 'uf' else '{} {}\n'
    for split in SPLITS:
      rows = [
        line.format(path.relative_to(clips_root), order.index(name))
        for name, folder in named.items()
        for path in sorted((clips_root / split / folder).iterdir())
      ]
      (root / publisher / f'{split}.csv').write_text(''.join(rows))
  tabbed = [f'{name}\t{i}\n' for i, name in enumerate(UNIFORMER)]
  (root / 'uf' / 'names.txt').write_text(''.join(tabbed))
  (root / 'mm' / 'names.txt').write_text('\n'.join(ALPHABETICAL))
  sources = Sources(
    [root / 'uf' / f'{split}.csv' for split in SPLITS],
    [clips_root],
    class_names=root / 'uf' / 'names.txt',
  )
  prepare(DATA_SETS['kinetics400'], sources, root / 'set', progress=False)
  return root


def use_lists(config, folder, clips_root):
  for split in SPLITS:
    config.data[split] = str(folder / f'{split}.csv')
  config.data.class_names = str(folder / 'names.txt')
  config.data.prefix = str(clips_root)


@pytest.fixture
def trained(config, publications, clips_root, tmp_path):
  """The workdir of a checkpoint with classes in UniFormer's order."""
  use_lists(config, publications / 'uf', clips_root)
  run = Experiment.create(config, UNIFORMER)
  state = TrainState.create(*initial_weights(run), optax.sgd(0.1))
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(state, RunInfo(UNIFORMER, config.to_dict()), None)
  fj.evaluate(config, tmp_path)
  return config, tmp_path


def scores_and_logits(workdir, name):
  """Returns a result without its protocol and advice, and its predictions."""
  results = json.loads((pathlib.Path(workdir) / 'results.json').read_text())
  scores = results[name]
  del scores['protocol'], scores['name'], scores['warnings']
  return scores, dict(np.load(workdir / f'predictions_{name}.npz'))


@pytest.mark.parametrize('publication', ['mm', 'set'])
def test_other_class_numbers_change_no_score(
  trained, publications, clips_root, publication
):
  config, workdir = trained
  scores, before = scores_and_logits(workdir, 'val')
  if publication == 'mm':
    use_lists(config, publications / 'mm', clips_root)
  else:
    for key in ('train', 'val', 'class_names', 'prefix'):
      config.data[key] = ''
    config.data.root = str(publications / 'set')
  name = fj.evaluate(config, workdir)['name']
  again, after = scores_and_logits(workdir, name)
  assert again == scores
  one, other = (
    {
      str(key): (logits, label)
      for key, logits, label in zip(*columns, strict=True)
    }
    for columns in (
      [p[name] for name in ('ids', 'logits', 'labels')] for p in (before, after)
    )
  )
  assert one.keys() == other.keys()
  for key, (logits, label) in one.items():
    np.testing.assert_array_equal(other[key][0], logits)
    assert other[key][1] == label


def test_a_class_that_the_model_lacks_is_refused_by_name(
  trained, publications, clips_root
):
  config, workdir = trained
  use_lists(config, publications / 'mm', clips_root)
  names = workdir / 'names.txt'
  names.write_text('dodgeball\nswimming\nriding a bike')
  config.data.class_names = str(names)
  with pytest.raises(ValueError, match=r'swimming\. They lack .*: marching'):
    fj.evaluate(config, workdir)
