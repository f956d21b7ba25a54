# SPDX-License-Identifier: Apache-2.0
"""Compares systems: the same videos, the same budget, one table."""

from collections.abc import Mapping, Sequence
import contextlib
import json
import logging
import pathlib
from typing import Any

import jax
import ml_collections

from flatten_jax.experiments import learning_rates, runs
from flatten_jax.experiments.cross_validation import check_seeds
from flatten_jax.models import MODELS
from flatten_jax.profiling import speed
from flatten_jax.reporting import comparison
from flatten_jax.runtime import (
  config as configs,
  context,
  default_config,
  model_factory,
  recipes,
)
from flatten_jax.runtime.devices import multihost
from flatten_jax.runtime.workdir import run_log, workdirs
from flatten_jax.text import did_you_mean

log = logging.getLogger('flatten_jax')

BUDGETS = ('clips', 'gflops', 'minutes')
# In epochs, and scaled with the budget; the others stay.
_DURATIONS = (
  *('epochs', 'warmup_epochs', 'eval_every', 'save_every'),
  *('freeze_epochs', 'patience'),
)
SHUFFLED = {'shuffled': {'eval_frame_order': 'shuffled'}}


def compare(
  config: ml_collections.ConfigDict,
  workdir: str | pathlib.Path,
  *,
  systems: Sequence[str] = (),
  seeds: int = 1,
  folds: bool = False,
) -> dict[str, Any]:
  """Trains and tests systems on the same videos and budget; writes a table.

  Each picks its learning rate first, see `learning_rates.pick`. Resumes where
  it was interrupted; finished runs are not repeated. Several processes may
  share `workdir`: each goes on with a system that no other is at.

  Args:
    config: with the group `compare`, see `default_config.compare`.
    workdir: gets a folder for each system, compare.json, .csv, .md and .png,
      and loss_curves.png.
    systems: some of `config.compare.systems`; by default all of them.
    seeds: runs of each system, with seeds from `config.seed` on.
    folds: trains on every fold of the data with each seed, see
      `cross_validate`.

  Returns:
    The content of compare.json: 'budget', the first of the list as
    'reference', and by name the 'systems' that are finished, also earlier: what
    `runs.summarize` and `speed.measure` return, 'epochs', 'learning_rate', see
    `learning_rates.pick`, 'probes', the top-1 of every seed on 'shuffled'
    frames, and 'machine' and 'commit'.

  Raises:
    ValueError: a system is unknown, or a value is wrong.
  """
  check_seeds(seeds)
  options = read_options(config)
  listed = options['systems']
  chosen = choose(listed, systems)
  config = configs.complete(config)
  multihost.initialize(config)
  for name in chosen:  # A mistake is found before the workdir is made.
    own = system_config(config, name, listed[name])
    configs.fill_and_check(own)
  first = system_config(config, *next(iter(listed.items())))
  with context.open_run(first, workdir) as run:
    classes = run.open_videos()['train'].num_classes
    busy = []
    for name in chosen:
      log.info('Comparison: %s', name)
      folder = run.workdir / name
      try:
        # Folds lock the folder itself.
        with workdirs.exclusive(folder / 'trials'):
          work = _System(config, options, name, run.workdir, classes)
          row = work.run(seeds, folds)
      except workdirs.InUse as error:
        log.warning('%s is left to the process that is at it: %s', name, error)
        busy.append(name)
        continue
      if multihost.is_first():
        runs.write_json(folder / 'row.json', row)
        _write(run.workdir, options)
      multihost.wait_for_all('a system is written')
    if busy:
      log.warning(
        'Others are at %s: when they are done, this command completes the '
        'table.',
        ', '.join(busy),
      )
    return _collect(run.workdir, options)


def read_options(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """Returns the group `compare` of a config, with every key.

  Raises:
    ValueError: it has no systems, or a value is wrong.
  """
  defaults = default_config.compare().to_dict()
  section = config.get('compare') or {}
  given = getattr(section, 'to_dict', lambda: section)()
  if unknown := given.keys() - defaults.keys():
    name = min(unknown)
    raise ValueError(
      f'There is no config.compare.{name}.{did_you_mean(name, defaults)}'
    )
  options = defaults | given
  if not options['systems']:
    raise ValueError(
      'There are no systems to compare: config.compare.systems has none. Use '
      '--config=configs/compare.py, or :clips=0 behind it for other videos.'
    )
  if options['budget'] not in BUDGETS:
    raise ValueError(
      f'config.compare.budget must be one of {", ".join(BUDGETS)}; got '
      f'{options["budget"]!r}.{did_you_mean(options["budget"], BUDGETS)}'
    )
  if not options['learning_rates'] or not 0 < options['trial'] <= 1:
    raise ValueError(
      'config.compare.learning_rates must have a rate or more, and '
      'config.compare.trial be a share of 1.'
    )
  return options


def choose(listed: Mapping[str, Any], systems: Sequence[str]) -> list[str]:
  """Returns the systems that are named, in the order of the list; () is all.

  Raises:
    ValueError: one is not in the list.
  """
  systems = [systems] if isinstance(systems, str) else systems
  for name in systems:
    if name not in listed:
      raise ValueError(
        f'There is no system {name!r}.{did_you_mean(name, listed)} Choose from '
        f'{", ".join(listed)}.'
      )
  return [name for name in listed if name in systems or not systems]


def system_config(
  config: ml_collections.ConfigDict, name: str, changes: Mapping[str, Any]
) -> ml_collections.ConfigDict:
  """Returns the config of a system.

  Raises:
    ValueError: values are left open, or a change is of an unknown key.
  """
  own = {'model.name': name} if name in MODELS else {}
  own |= configs.flat(dict(changes)) | {'order_report': False}
  found = configs.complete(configs.flat(config) | own)
  if still_open := recipes.open_keys(found):
    raise ValueError(
      f'Systems that are compared share all values; config.{still_open[0]} is '
      'left open. Give it one, or use --config=configs/compare.py.'
    )
  return found


def scaled(
  config: ml_collections.ConfigDict, factor: float
) -> ml_collections.ConfigDict:
  """Returns a config whose durations are `factor` times as long."""
  config = config.copy_and_resolve_references()
  for key in _DURATIONS:
    if config[key] > 0:  # 0 and -1 have meanings.
      config[key] = float(f'{config[key] * factor:.4g}')
  config.lr_steps = tuple(step * factor for step in config.lr_steps)
  return config


class _System:
  """The work on one system, each part of which is kept in a file."""

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    options: dict[str, Any],
    name: str,
    workdir: pathlib.Path,
    classes: int,
  ):
    self._options, self._folder = options, workdir / name
    self._config, self._classes = config, classes
    self._workdir, self._name = workdir, name

  def run(self, seeds: int, folds: bool) -> dict[str, Any]:
    """Does what is not done yet, and returns the row of the table."""
    own, trials = self._budgeted(), self._folder / 'trials'
    short = scaled(own, self._options['trial'])
    # A single validation, and checkpoint, at the end.
    short.eval_every, short.save_every = 0.0, short.epochs
    picked = learning_rates.pick(
      short, trials, tuple(self._options['learning_rates'])
    )
    run_log.start(self._workdir)
    log.info('%s: learning rate %g', self._name, picked['lr'])
    own.lr = picked['lr']
    done = runs.train(own, self._folder, seeds, folds)
    run_log.start(self._workdir)
    row = runs.summarize(done) | {'probes': runs.probe(done, SHUFFLED)}
    run_log.start(self._workdir)
    machine = run_log.describe_machine()
    return (
      row
      | self._measured(self._name)
      | {'epochs': own.epochs, 'learning_rate': picked}
      | {'machine': machine['device_kind'], 'commit': machine['commit']}
    )

  def _own(self, name: str) -> ml_collections.ConfigDict:
    return system_config(self._config, name, self._options['systems'][name])

  def _budgeted(self) -> ml_collections.ConfigDict:
    """Returns the system's config, with the epochs that the budget allows."""
    own, first = self._own(self._name), next(iter(self._options['systems']))
    if self._name == first or self._options['budget'] == 'clips':
      return own
    factor = self._cost(first) / self._cost(self._name)
    return scaled(own, factor)

  def _cost(self, name: str) -> float:
    """Returns what a training clip costs, in the unit of the budget."""
    if self._options['budget'] == 'minutes':
      return 1 / self._measured(name)['train_clips_per_second']
    own = configs.fill_and_check(self._own(name))
    frames, side = own.data.num_frames, own.data.crop
    return model_factory.cost_of(own, self._classes, frames, side).gflops

  def _measured(self, name: str) -> dict[str, float]:
    """Returns the speed of a system; measured once, since it varies."""
    path = self._workdir / name / 'speed.json'
    if not path.exists():
      log.info('Measuring the speed of %s', name)
      found = speed.measure(self._own(name), path.parent)
      jax.clear_caches()
      run_log.start(self._workdir)
      if multihost.is_first():
        runs.write_json(path, found)
      multihost.wait_for_all('a speed is written')
    return json.loads(path.read_text())


def _collect(workdir: pathlib.Path, options: dict[str, Any]) -> dict[str, Any]:
  """Returns the content of compare.json: every system that is finished."""
  rows = {}
  for name in options['systems']:
    with contextlib.suppress(FileNotFoundError):
      rows[name] = json.loads((workdir / name / 'row.json').read_text())
  first = next(iter(options['systems']))
  return {'budget': options['budget'], 'reference': first, 'systems': rows}


def _write(workdir: pathlib.Path, options: dict[str, Any]) -> None:
  """Writes the files of the systems so far."""
  found = _collect(workdir, options)
  runs.write_json(workdir / 'compare.json', found)
  page = comparison.write(found, workdir)
  log.info('\n%s\nIt is in %s', page, workdir / 'compare.md')
