# SPDX-License-Identifier: Apache-2.0
"""Compares systems: the same videos, the same budget, one table."""

from collections.abc import Sequence
import contextlib
import dataclasses
import json
import logging
import pathlib
from typing import Any

import jax
import ml_collections

from flatten_jax.experiments import learning_rates, runs, systems as listing
from flatten_jax.experiments.cross_validation import check_seeds
from flatten_jax.inputs.sources.videos import training_videos
from flatten_jax.profiling import speed
from flatten_jax.reporting import comparison
from flatten_jax.runtime import context, model_factory
from flatten_jax.runtime.configuration import config as configs
from flatten_jax.runtime.devices import multihost
from flatten_jax.runtime.workdir import run_log, workdirs

log = logging.getLogger('flatten_jax')

SHUFFLED = {'shuffled': {'eval_frame_order': 'shuffled'}}
_FIXED = ('budget', 'learning_rates', 'trial')  # In all of a workdir.


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
  options = listing.read_options(config)
  chosen = listing.choose(options['systems'], systems)
  config = configs.complete(config)
  runs.check_one_label(config, 'compare')
  multihost.initialize(config)
  early = _Comparison(config, options, pathlib.Path(workdir))
  for name in chosen:  # A mistake is found before the workdir is made.
    early.gflops(name)
  with context.open_run(early.config_of(chosen[0]), workdir) as run:
    videos = runs.open_videos(config, folds)  # The same for every system.
    classes = training_videos(videos).num_classes
    ours = _Comparison(config, options, run.workdir, classes)
    ours.check_unchanged()
    runs.check_same_videos(videos, run.workdir)
    busy = [name for name in chosen if not ours.run(name, seeds, folds)]
    if busy:
      log.warning(
        'Left to other processes: %s. When they are done, this command '
        'completes the table.',
        ', '.join(busy),
      )
    return ours.finished()


@dataclasses.dataclass(frozen=True)
class _Comparison:
  """The work in one workdir, each part of which is kept in a file."""

  config: ml_collections.ConfigDict  # Complete.
  options: dict[str, Any]  # Of `systems.read_options`.
  workdir: pathlib.Path
  classes: int = 1

  @property
  def first(self) -> str:
    """The system that sets the budget."""
    return next(iter(self.options['systems']))

  def config_of(self, name: str) -> ml_collections.ConfigDict:
    """Returns the config of a system, before its budget and learning rate."""
    changes = self.options['systems'][name]
    return listing.system_config(self.config, name, changes)

  def check_unchanged(self) -> None:
    """Refuses another config, or another budget, than the workdir's."""
    runs.check_unchanged(self.config, self.workdir)
    found = {key: self.options[key] for key in _FIXED}
    found = json.loads(json.dumps(found))
    path = self.workdir / 'options.json'
    if path.exists() and (before := json.loads(path.read_text())) != found:
      raise ValueError(
        f'{self.workdir} was begun with config.compare={before}; got {found}. '
        'Use a new --workdir, or the values that it was started with.'
      )
    if multihost.is_first():
      runs.write_json(path, found)

  def run(self, name: str, seeds: int, folds: bool) -> bool:
    """Does what is not done of a system; returns False if others are at it."""
    log.info('Comparison: %s', name)
    folder = self.workdir / name
    try:
      with workdirs.exclusive(folder / 'trials'):  # Folds lock the folder.
        row = self._row(name, seeds, folds)
    except workdirs.InUse as error:
      if jax.process_count() > 1:
        raise
      log.warning('%s is left out: %s', name, error)
      return False
    if multihost.is_first():
      runs.write_json(folder / 'row.json', row)
      found = self.finished()
      runs.write_json(self.workdir / 'compare.json', found)
      page = comparison.write(found, self.workdir)
      log.info('\n%s\nIt is in %s', page, self.workdir / 'compare.md')
    multihost.wait_for_all('a system is written')
    return True

  def finished(self) -> dict[str, Any]:
    """Returns the content of compare.json."""
    rows = {}
    for name in self.options['systems']:
      with contextlib.suppress(FileNotFoundError):
        text = (self.workdir / name / 'row.json').read_text()
        rows[name] = json.loads(text)
    budget = {'budget': self.options['budget'], 'reference': self.first}
    return budget | {'systems': rows}

  def _row(self, name: str, seeds: int, folds: bool) -> dict[str, Any]:
    """Trains and tests a system. -> its row of compare.json."""
    own, folder = self._budgeted(name), self.workdir / name
    short = listing.scaled(own, self.options['trial'])
    # A single validation, and checkpoint, at the end.
    short.eval_every, short.save_every = 0.0, short.epochs
    rates = tuple(self.options['learning_rates'])
    picked = learning_rates.pick(short, folder / 'trials', rates)
    run_log.start(self.workdir)
    log.info('%s: learning rate %g', name, picked['lr'])
    own.lr = picked['lr']
    done = runs.train(own, folder, seeds, folds)
    run_log.start(self.workdir)
    row = runs.summarize(done) | {'probes': runs.probe(done, SHUFFLED)}
    run_log.start(self.workdir)
    row |= self._speed(name)
    row |= {'epochs': own.epochs, 'learning_rate': picked}
    trained = next(iter(done.values()))[0] / 'run.json'
    machine = json.loads(trained.read_text())['machine']
    return (
      row | {'machine': machine['device_kind']} | {'commit': machine['commit']}
    )

  def _budgeted(self, name: str) -> ml_collections.ConfigDict:
    """Returns the config of a system, with the epochs of the budget."""
    own = self.config_of(name)
    if name == self.first or self.options['budget'] == 'clips':
      return own
    return listing.scaled(own, self._cost(self.first) / self._cost(name))

  def _cost(self, name: str) -> float:
    """Returns what a training clip costs, in the unit of the budget."""
    if self.options['budget'] == 'minutes':
      return 1 / self._speed(name)['train_clips_per_second']
    return self.gflops(name)

  def gflops(self, name: str) -> float:
    """Returns the cost of a training clip, for which the model is traced."""
    own = configs.fill_and_check(self.config_of(name))
    frames, side = own.data.num_frames, own.data.crop
    return model_factory.cost_of(own, self.classes, frames, side).gflops

  def _speed(self, name: str) -> dict[str, float]:
    """Returns the speed of a system; measured once, since it varies."""
    path = self.workdir / name / 'speed.json'
    if not path.exists():
      log.info('Measuring the speed of %s', name)
      found = speed.measure(self.config_of(name), path.parent)
      jax.clear_caches()
      run_log.start(self.workdir)
      if multihost.is_first():
        runs.write_json(path, found)
      multihost.wait_for_all('a speed is written')
    return json.loads(path.read_text())
