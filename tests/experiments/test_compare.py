# SPDX-License-Identifier: Apache-2.0
"""Systems on one budget: their configs, learning rates, runs and table."""

import csv
import json
import shutil

import pytest

from configs import compare as compare_config, quickstart
import flatten_jax as fj
from flatten_jax.experiments import learning_rates, systems
from flatten_jax.inputs.synthetic import motion_clips
from flatten_jax.models import MODELS
from flatten_jax.reporting import comparison
from flatten_jax.runtime.configuration import config as configs, default_config
from flatten_jax.runtime.workdir import workdirs


def test_every_system_of_the_config_can_be_trained():
  config = compare_config.get_config()
  listed = systems.read_options(config)['systems']
  base = configs.complete(config)
  for name, changes in listed.items():
    own = systems.system_config(base, name, changes)
    configs.fill_and_check(own)
    assert own.model.name in MODELS
    assert own.data.short_side >= own.data.crop
  assert next(iter(listed)) == 'uniformer_nano'
  tsn = systems.system_config(base, 'tsn_nano', listed['tsn_nano'])
  assert (tsn.model.name, tsn.clip_model) == ('resnet_nano', 'average')


def test_a_budget_scales_every_duration():
  config = quickstart.get_config()
  config.epochs, config.warmup_epochs, config.patience = 24.0, 2.0, 0.0
  config.lr_steps = (10.0, 20.0)
  longer = systems.scaled(configs.complete(config), 1.5)
  assert (longer.epochs, longer.warmup_epochs) == (36, 3)
  assert (longer.eval_every, longer.save_every) == (9, 9)
  assert (longer.patience, longer.lr_steps) == (0, (15, 30))
  config.warmup_epochs = -1.0  # A tenth of the epochs.
  assert systems.scaled(configs.complete(config), 0.5).warmup_epochs == -1
  config.epochs = 0.0
  with pytest.raises(ValueError, match='epochs=0'):
    systems.scaled(configs.complete(config), 0.5)


def test_the_best_learning_rate_is_picked(tmp_path):
  tried = {
    '0.001': {'top1': 40.0, 'loss': 2.0, 'scored': 1000},
    '0.003': {'top1': 50.0, 'loss': 2.1, 'scored': 1000},
    '0.01': {'top1': None, 'loss': None, 'scored': 0},
  }
  assert learning_rates.best_rate(tried) == 0.003
  tried['0.001']['top1'] = 50.0  # Of equal ones, the lower loss.
  assert learning_rates.best_rate(tried) == 0.001
  tried['0.001'] |= {'top1': 40.0, 'scored': 30}  # Three videos of 30.
  assert learning_rates.best_rate(tried) == 0.001
  found = {'lr': 0.003, 'tried': tried}  # By another rule: it is kept.
  (tmp_path / 'learning_rate.json').write_text(json.dumps(found))
  config = configs.complete(compare_config.get_config())
  assert learning_rates.pick(config, tmp_path, (1e-3, 3e-3, 1e-2)) == found
  with pytest.raises(ValueError, match=r'diverged with every rate of 0\.01'):
    learning_rates.best_rate({'0.01': tried['0.01']})


def test_a_mistake_is_found_before_there_is_a_workdir(tmp_path):
  config = compare_config.get_config()
  with pytest.raises(ValueError, match=r"'slofast_nano'.*mean 'slowfast_nano'"):
    fj.compare(config, tmp_path / 'new', systems=['slofast_nano'])
  config.compare.budget = 'flops'
  with pytest.raises(ValueError, match=r"'flops'.*mean 'gflops'"):
    fj.compare(config, tmp_path / 'new')
  with pytest.raises(ValueError, match=r'configs/compare\.py'):
    fj.compare(quickstart.get_config(), tmp_path / 'new')
  config = compare_config.get_config()
  config.compare.learning_rate = (1e-3,)
  with pytest.raises(ValueError, match="mean 'learning_rates'"):
    fj.compare(config, tmp_path / 'new')
  config = compare_config.get_config()
  config.data.num_frames = 9
  with pytest.raises(ValueError, match='multiple of 4'):
    fj.compare(config, tmp_path / 'new', systems=['slowfast_nano'])
  config.recipe = 'few_videos'
  default_config.leave_open(config, 'lr')
  with pytest.raises(ValueError, match=r'config\.lr is left open'):
    fj.compare(config, tmp_path / 'new')
  assert not (tmp_path / 'new').exists()


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
  """Two systems of one step an epoch."""
  folder = tmp_path_factory.mktemp('clips') / 'clips'
  root = motion_clips.make(folder, train=24, val=12, test=12, progress=False)
  config = compare_config.get_config('clips=0')
  config.data.root = str(root)
  config.data.num_frames = 4
  config.data.crop = config.data.short_side = 16
  config.data.threads = 2
  config.batch_size = 24
  config.epochs = 2.0
  config.warmup_epochs = 0.0
  config.log_every = 1
  config.compile_cache = ''
  config.loggers = ()
  config.compare = default_config.compare()
  config.compare.trial = 0.5
  config.compare.budget = 'gflops'
  config.compare.learning_rates = (1e-3, 1e-2)
  config.compare.systems = (
    ('resnet_test', {}),
    ('averaged', {'model.name': 'resnet_test', 'clip_model': 'average'}),
  )
  return config


def test_a_comparison_goes_on_where_it_was_killed(tiny, tmp_path):
  workdir = tmp_path / 'compare'
  first = fj.compare(tiny, workdir, systems=['resnet_test'])
  assert list(first['systems']) == ['resnet_test']
  kept = workdir / 'resnet_test' / 'seed_0' / 'results.json'
  written = kept.stat().st_mtime_ns
  found = fj.compare(tiny, workdir)
  assert found['systems']['resnet_test'] == first['systems']['resnet_test']
  assert json.loads((workdir / 'compare.json').read_text()) == found
  page = (workdir / 'compare.md').read_text()
  assert '| resnet_test |' in page
  assert '| averaged ' in page
  averaged = found['systems']['averaged']
  assert averaged['top1'] == averaged['probes']['shuffled']  # Blind to order.
  assert first['systems']['resnet_test']['epochs'] == 2
  assert 1.5 < averaged['epochs'] < 1.7  # Maps of frames round up.
  tried = averaged['learning_rate']['tried']
  assert list(tried) == ['0.001', '0.01']
  trial = workdir / 'averaged' / 'trials' / 'lr_0.01' / 'results.json'
  assert list(json.loads(trial.read_text())) == ['val']  # Not the test.
  for name in ('compare.png', 'loss_curves.png'):
    assert (workdir / name).read_bytes().startswith(b'\x89PNG')

  # As a kill in a training leaves it.
  shutil.rmtree(workdir / 'averaged' / 'seed_0')
  (workdir / 'averaged' / 'row.json').unlink()
  again = fj.compare(tiny, workdir)
  assert (workdir / 'compare.md').read_text() == page
  assert again['systems']['resnet_test'] == found['systems']['resnet_test']
  assert kept.stat().st_mtime_ns == written  # It was not repeated.

  # Others at a system keep it, and this process goes on without.
  with workdirs.exclusive(workdir / 'averaged' / 'trials'):
    assert fj.compare(tiny, workdir) == again
  tiny.compare.budget = 'clips'
  with pytest.raises(ValueError, match='was begun with'):
    fj.compare(tiny, workdir)


def row(top1, shuffled, cost=0.1, views='32x9x1x1'):
  return {
    'top1': top1,
    'mean_class': top1,
    'scored': 480,
    'split': 'test',
    'chance': 8.33,
    'chance_class': '',
    'views': views,
    'gflops_per_view': cost,
    'params_m': 0.8,
    'train_clips_per_second': 200.0,
    'test_views_per_second': 600.0,
    'memory_mib': 80.0,
    'epochs': 24.0,
    'learning_rate': {'lr': 1e-3, 'tried': {}},
    'probes': {'shuffled': shuffled},
    'machine': 'cpu',
    'commit': 'abc',
  }


def test_the_table_and_the_picture_show_every_system(tmp_path):
  found = {
    'budget': 'clips',
    'reference': 'a',
    'systems': {
      'a': row([98.0, 99.0], [20.0, 22.0]),
      'b': row([10.0], [10.0], views='32x9x3x2'),
    },
  }
  page = comparison.write(found, tmp_path)
  first, second = (
    [cell.strip() for cell in line.split('|')[1:-1]]
    for line in page.splitlines()[8:10]
  )
  assert first[:5] == ['a', '98.5 ± 0.7', '97.0 to 99.3', '+77.5', '2']
  assert second[:3] == ['b', '10.0 *', '7.6 to 13.0']  # Chance is 8.3.
  assert second[3:7] == ['+0.0', '1', '32x9x3x2', '0.1000 x 6']
  assert 'the same number of clips as `a` in 24 epochs' in page
  with (tmp_path / 'compare.csv').open() as file:
    table = list(csv.DictReader(file))
  assert [r['system'] for r in table] == ['a', 'b']
  assert float(table[1]['gflops']) == pytest.approx(0.6)
  assert (tmp_path / 'compare.png').stat().st_size

  (tmp_path / 'compare.json').write_text(json.dumps(found))
  html = fj.report(tmp_path).read_text()
  assert 'the same number of clips as a in 24 epochs' in html
  assert html.count('<tr') == 3 and html.count('data:image/png;base64,') == 2
  for value in (*first, *second):
    assert f'<td>{value}</td>' in html
  assert html.count('class="unbeaten"') == 1  # b costs more and is worse.


def test_the_line_has_what_nothing_cheaper_beats_and_nothing_at_chance():
  points = [(2, 90), (1, 50), (3, 80), (4, 95), (2, 70), (0.5, 10)]
  rows = [
    {'gflops': cost, 'top1': top1, 'top1_low': top1 - 2, 'chance': 8.3}
    for cost, top1 in points
  ]
  assert comparison.unbeaten(rows) == [1, 0, 3]
  unknown = [row | {'chance': None} for row in rows]
  assert comparison.unbeaten(unknown) == [5, 1, 0, 3]
