# SPDX-License-Identifier: Apache-2.0
"""The phases of a training: one that is validated, and `config.refit`.

A refit trains on all videos, those of the validation too: from the best
checkpoint, with a schedule of its own of half as many epochs. The mean of the
weights before and after it is what the run ends with (Izmailov et al.,
"Averaging Weights Leads to Wider Optima and Better Generalization", 2018).
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses

import ml_collections

from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.training import freezing, schedules, setup

REFIT = 0.5  # Of the epochs.


@dataclasses.dataclass(frozen=True)
class Phase:
  """Steps on the same videos, with a schedule of their own.

  Attributes:
    train: videos to train on.
    val: videos to validate on, if there are any.
    begin: the step of the run after which it begins.
    steps_per_epoch: need not be whole.
    end: its last step.
    frozen_end: its last step in which a part of the network is frozen.
    local_rate: from a step of this phase, counted from 0, to its learning rate.
  """

  train: Videos
  val: Videos | None
  begin: int
  steps_per_epoch: float
  end: int
  frozen_end: int
  local_rate: Callable[[int], float]

  def epoch(self, step: int) -> float:
    """Returns the epochs of this phase until a step of the run."""
    return (step - self.begin) / self.steps_per_epoch

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
  shorter = schedules.scaled(config, REFIT)
  refit = _phase(shorter, together(train, val), begin=first.end)
  if first.frozen_end < first.end:  # All has been trained by then.
    refit = dataclasses.replace(refit, frozen_end=refit.begin)
  return first, refit


def _phase(
  config: ml_collections.ConfigDict,
  train: Videos,
  val: Videos | None = None,
  begin: int = 0,
) -> Phase:
  each = setup.epoch_steps(train, config)
  return Phase(
    train,
    val,
    begin,
    steps_per_epoch=each,
    end=begin + max(1, round(config.epochs * each)),
    frozen_end=begin + setup.interval(freezing.epochs(config), each),
    local_rate=schedules.on_host(schedules.make(config, each)),
  )


def together(train: Videos, val: Videos) -> Videos:
  """Returns the videos of both splits that can be trained on."""
  records = train.records + val.usable().records
  return dataclasses.replace(train, records=records)


def at(phases: Sequence[Phase], step: int) -> Phase:
  """Returns the phase of a step of the run, counted from 1."""
  return next((p for p in phases if step <= p.end), phases[-1])
