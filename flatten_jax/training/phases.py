# SPDX-License-Identifier: Apache-2.0
"""The phases of a training: one that is validated, and `config.refit`."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses

import ml_collections

from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.training import schedules, setup


@dataclasses.dataclass(frozen=True)
class Phase:
  """Steps on the same videos, with a schedule of their own.

  Attributes:
    train: videos to train on.
    val: videos to validate on, if there are any.
    begin: the step of the run after which it begins.
    first_epoch: epochs of the run before it.
    epochs: of it.
    steps_per_epoch: need not be whole.
    local_rate: from a step of this phase, counted from 0, to its learning rate.
  """

  train: Videos
  val: Videos | None
  begin: int
  first_epoch: float
  epochs: float
  steps_per_epoch: float
  local_rate: Callable[[int], float]

  @property
  def end(self) -> int:
    """The last step of the run that is in this phase."""
    return self.begin + max(1, round(self.epochs * self.steps_per_epoch))

  def epoch(self, step: int) -> float:
    """Returns the epochs of the run after a step."""
    return self.first_epoch + (step - self.begin) / self.steps_per_epoch

  def rate(self, step: int) -> float:
    """Returns the learning rate of a step of the run, counted from 0."""
    return self.local_rate(step - self.begin)


def make(
  config: ml_collections.ConfigDict, splits: Mapping[str, Videos]
) -> tuple[Phase, ...]:
  """Returns the phases of a run: one or, with `config.refit`, two.

  Args:
    config: of the run.
    splits: 'train' and, for validation, 'val'.
  """
  train, val = splits['train'], splits.get('val')
  first = _phase(config, train, val)
  if not config.refit:
    return (first,)
  longer = config.copy_and_resolve_references()
  for key in ('epochs', 'warmup_epochs'):
    longer[key] *= config.refit
  longer.lr_steps = tuple(epoch * config.refit for epoch in config.lr_steps)
  return first, _phase(longer, together(train, val), before=first)


def at(phases: Sequence[Phase], step: int) -> Phase:
  """Returns the phase of a step of the run, counted from 1."""
  return next((p for p in phases if step <= p.end), phases[-1])


def _phase(
  config: ml_collections.ConfigDict,
  train: Videos,
  val: Videos | None = None,
  before: Phase | None = None,
) -> Phase:
  steps_per_epoch = setup.epoch_steps(train, config)
  return Phase(
    train,
    val,
    begin=before.end if before else 0,
    first_epoch=before.epochs if before else 0.0,
    epochs=config.epochs,
    steps_per_epoch=steps_per_epoch,
    local_rate=schedules.on_host(schedules.make(config, steps_per_epoch)),
  )


def together(train: Videos, val: Videos) -> Videos:
  """Returns the videos of both splits, to train on."""
  return dataclasses.replace(
    train,
    records=train.records + val.records,
    weights=train.weights + val.weights,
  )
