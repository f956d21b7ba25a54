# SPDX-License-Identifier: Apache-2.0
"""Tries learning rates from tiny to huge (`--mode=lr_range`).

The range test of L. N. Smith (2015, arXiv:1506.01186, section 3.3), with rates
that grow by a factor instead of a summand, the smoothing and the end of
S. Gugger ("How Do You Find A Good Learning Rate", 2018,
https://sgugger.github.io/how-do-you-find-a-good-learning-rate.html). How many
steps are averaged, and when a loss has not fallen, is ours.
"""

from collections.abc import Generator, Iterator, Sequence
import contextlib
import json
import logging
import math
import pathlib
from typing import Any

import jax
from matplotlib.figure import Figure
import ml_collections
import numpy as np

from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.progress import Progress
from flatten_jax.runtime import context
from flatten_jax.runtime.configuration import config as configs, recipe_rules
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.workdir import run_log
from flatten_jax.text import escape_mathtext, save_figure
from flatten_jax.training import freezing, optimizer, prefetch, setup

log = logging.getLogger('flatten_jax')

FIRST, LAST = 1e-7, 1.0  # Learning rates.
LEAST = 10  # Steps of a test.
RISEN = 4  # Times the lowest smoothed loss, where a test ends.
SHARE = 0.1  # Of the rate with the lowest loss: what is suggested.
# The average of losses remembers 1 / (1 - beta) steps, this share of all, so
# that it lags behind by the same factor of the rate for any number of steps.
# Gugger's beta of 0.98 is that of 1000 steps.
MEMORY = 0.05
# Spreads of the first losses by which the smoothed loss has to fall.
SPREADS = 2
STOPPED = {
  'steps': 'where the rates end',
  'risen': f'where the smoothed loss was {RISEN} times its lowest value',
  'not finite': 'after which the loss was not finite',
}


def lr_range(
  config: ml_collections.ConfigDict,
  workdir: str | pathlib.Path,
  *,
  steps: int = 100,
) -> dict[str, Any]:
  """Trains with a learning rate that grows, and suggests one by the losses.

  Each step is on the next batch of a run's videos, and of its images if there
  are any, from the weights that a run starts from. What `config.freeze` keeps
  for a whole run is kept; the schedule has no effect. Reads and writes no
  checkpoint in `workdir`; writes lr_range.json and lr_range.png to it.

  Args:
    config: of the run; its learning rate is not changed.
    workdir: for the files.
    steps: from a rate of 1e-7 to one of 1, in equal factors; fewer are run if
      the loss rises before.

  Returns:
    The content of lr_range.json: 'rates', 'losses' and 'smoothed', of each step
    before its update; 'suggestion', a tenth of 'lowest', the rate where the
    smoothed loss is lowest; 'steepest', where it falls fastest; all three None
    if it never fell; 'command', a flag that sets the suggestion, or '';
    'stopped', a word of `STOPPED`; 'lr', the config's; and what the machine is.

  Raises:
    ValueError: there are fewer than 10 steps or several processes, or a config
      value is wrong.
  """
  if steps < LEAST:
    raise ValueError(f'A test takes {LEAST} steps or more; got steps={steps}.')
  config = configs.complete(config)
  with context.open_run(config, workdir) as run:
    if jax.process_count() > 1:
      raise ValueError('--mode=lr_range trains in one process: use one.')
    recipe_rules.check_batch_size(run.config)
    configs.check_initial_weights(run.config)
    splits = run.open_videos(with_images=True)
    config, train = configs.resolve(run.config, splits), splits['train']
    rates = np.geomspace(FIRST, LAST, steps).tolist()
    with contextlib.closing(train_steps(config, train, rates)) as losses:
      found = run_test(rates, losses)
    found |= {
      'lr': config.lr,
      'model': config.model.name,
      'optimizer': config.optimizer,
      'batch_size': config.batch_size,
      'machine': run_log.describe_machine(),
    }
    path = run.workdir / 'lr_range.json'
    path.write_text(json.dumps(found, indent=2) + '\n')
    draw(found, path.with_suffix('.png'))
    log.info('%s', summary(found))
    log.info('The curve is %s', path.with_suffix('.png'))
    return found


def train_steps(
  config: ml_collections.ConfigDict, train: Videos, rates: Sequence[float]
) -> Generator[float, None, None]:
  """Yields the loss of each batch, before the update with its rate.

  Args:
    config: resolved.
    train: the training videos.
    rates: learning rates, one for each step.
  """
  experiment = Experiment.create(config, train.class_names)
  tx = optimizer.make(config)
  # A part that is frozen for some epochs is trained with the same rate later.
  frozen = freezing.names_for_all_epochs(experiment)
  state = setup.initial_state(experiment, tx)
  update = setup.make_train_step(experiment, tx, frozen=frozen)
  with setup.training_batches(train, config, start=0) as batches:
    stream = prefetch.DevicePrefetcher(
      batches, experiment.to_devices, contextlib.nullcontext
    )
    for rate in rates:
      with jax.transfer_guard('disallow'):
        _, batch = stream.next()
        state, metrics = update(state, batch, experiment.to_all_devices(rate))
        stream.start_next()
      yield float(jax.device_get(metrics['loss']))


def run_test(rates: Sequence[float], losses: Iterator[float]) -> dict[str, Any]:
  """Reads losses until they have risen; returns them and what they suggest.

  Args:
    rates: learning rates of all steps.
    losses: of as many steps; not more are taken than needed.
  """
  beta, average, values = memory_factor(len(rates)), 0.0, []
  smoothed: list[float] = []
  stopped = 'steps'
  with Progress('Training', 'steps', losses, total=len(rates)) as progress:
    for loss in progress:
      if not math.isfinite(loss):
        stopped = 'not finite'
        break
      values.append(loss)
      average = beta * average + (1 - beta) * loss
      smoothed.append(average / (1 - beta ** len(values)))
      if smoothed[-1] > RISEN * min(smoothed):
        stopped = 'risen'
        break
  rates = list(rates[: len(values)])
  # The last rate is the one after which the loss was not finite.
  end = len(values) - (stopped == 'not finite')
  return suggest(rates[:end], values[:end], smoothed[:end]) | {
    'stopped': stopped,
    'rates': rates,
    'losses': values,
    'smoothed': smoothed,
  }


def memory_factor(steps: int) -> float:
  """Returns beta of an average that remembers a share of the steps."""
  return 1 - 1 / max(MEMORY * steps, 1)


def suggest(
  rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float]
) -> dict[str, Any]:
  """Returns the rates that a curve marks, rounded to two digits.

  The rates of the first tenth of the steps change nothing: the mean of their
  losses is where the loss begins, the standard deviation what it varies by.

  Args:
    rates: learning rates, growing in equal factors.
    losses: one of each rate, all finite.
    smoothed: their averages.

  Returns:
    'suggestion', 'lowest', 'steepest' and 'command', see `lr_range`.
  """
  first = max(len(losses) // 10, LEAST // 2)
  start = losses[:first]
  nothing = dict.fromkeys(('suggestion', 'lowest', 'steepest')) | {
    'command': ''
  }
  if len(losses) <= first:
    return nothing
  best = int(np.argmin(smoothed))
  needed = SPREADS * float(np.std(start))
  if best < first or smoothed[best] >= np.mean(start) - needed:
    return nothing
  steepest = first + int(np.argmin(_slopes(smoothed)[first : best + 1]))
  suggestion = _rounded(SHARE * rates[best])
  return {
    'suggestion': suggestion,
    'lowest': _rounded(rates[best]),
    'steepest': _rounded(rates[steepest]),
    'command': f'--config.lr={suggestion:g}',
  }


def _slopes(values: Sequence[float]) -> np.ndarray:
  """Returns slopes of lines through a tenth of the values, of each [N].

  Those of neighbors alone would be noise. They are in proportion to the least
  squares' of equally spaced values, which continue as constants at the ends.
  """
  half = max(len(values) // 20, 1)
  padded = np.pad(np.asarray(values), half, mode='edge')
  return np.correlate(padded, np.arange(-half, half + 1), 'valid')


def _rounded(rate: float) -> float:
  return float(f'{rate:.2g}')


def summary(found: dict[str, Any]) -> str:
  """Returns the result in words."""
  if not found['rates']:
    return 'The loss of the first step is not finite: no rate can be suggested.'
  last = found['rates'][-1]
  end = f'The test ended at {last:.2g}, {STOPPED[found["stopped"]]}.'
  if found['suggestion'] is None:
    return f'The loss never fell, so that no rate can be suggested. {end}'
  if found['stopped'] == 'steps' and found['lowest'] == _rounded(last):
    end += ' It is still lowest there: larger rates may be as good.'
  return (
    f'Suggested for batches of {found["batch_size"]}: {found["command"]}, a '
    f'tenth of the rate with the lowest smoothed loss, {found["lowest"]:g}. '
    f'The loss falls fastest at {found["steepest"]:g}. The config has '
    f'{found["lr"]:g}. {end}'
  )


def draw(found: dict[str, Any], path: pathlib.Path) -> None:
  """Draws losses over learning rates, with the rates that are reported."""
  figure = Figure(figsize=(8, 4.5), layout='constrained')
  axes = figure.subplots()
  rates = found['rates']
  axes.plot(rates, found['losses'], color='C0', alpha=0.4, lw=1, label='loss')
  axes.plot(rates, found['smoothed'], color='C0', lw=2.5, label='smoothed')
  for key, style, words in (
    ('suggestion', '-', 'suggestion'),
    ('lowest', ':', 'lowest smoothed loss'),
    ('steepest', '--', 'steepest descent'),
  ):
    if found[key] is not None:
      label = f'{words}, {found[key]:g}'
      axes.axvline(found[key], color='C1', ls=style, label=label)
  axes.set_xscale('log')
  if found['smoothed']:
    axes.set_ylim(*_heights(found['losses'], found['smoothed']))
  model = f'{found["model"]}, {found["optimizer"]}'
  axes.set_title(
    escape_mathtext(f'{model}, batches of {found["batch_size"]}'), loc='left'
  )
  axes.set(xlabel='learning rate', ylabel='training loss')
  axes.grid(alpha=0.3)
  axes.spines[['top', 'right']].set_visible(False)
  axes.legend(frameon=False)
  save_figure(figure, path, dpi=120)


def _heights(
  losses: Sequence[float], smoothed: Sequence[float]
) -> tuple[float, float]:
  """Returns limits of the axis of losses: what rises at the end is cut off."""
  start = smoothed[0]
  fall = start - min(losses)
  return min(losses) - 0.1 * fall, start + max(fall, 0.1 * abs(start), 1e-6)
