# SPDX-License-Identifier: Apache-2.0
"""The best validation of a run, and early stopping.

What is known comes from the checkpoints, so a run that is resumed decides as
one that was not interrupted.
"""

import functools
import math
from typing import Any

from flatten_jax.checkpoints import manager
from flatten_jax.checkpoints.checkpoints import Checkpoints
from flatten_jax.evaluation import metrics


class BestValidation:
  """Compares validations as checkpoints do, see `checkpoints.manager.rank`.

  Args:
    checkpoints: of the run, after the state was restored.
    steps_per_epoch: need not be whole.
    patience: epochs without a better validation after which training ends; 0:
      it does not.
  """

  def __init__(
    self, checkpoints: Checkpoints, steps_per_epoch: float, patience: float
  ):
    self._steps_per_epoch, self._patience = steps_per_epoch, patience
    self._by = checkpoints.best_by
    self._best: dict[str, Any] | None = None
    if (step := checkpoints.best_step()) is not None:
      # Earlier versions saved no step.
      self._best = {**checkpoints.scores(step), 'step': step}

  def add(self, step: int, scores: dict[str, Any]) -> str:
    """Notes the validation after a step; returns its log line."""
    scores, note = {**scores, 'step': step}, 'the best so far'
    rank = functools.partial(manager.rank, by=self._by)
    if self._best and rank(scores) <= rank(self._best):
      note = f'best {self}'
    else:
      self._best = scores
    epoch = step / self._steps_per_epoch
    line = metrics.short_summary('val', scores)
    if self._by not in ('top1', 'map'):  # These are in the line.
      line += f'; {self._value(scores)}'
    return f'Epoch {epoch:.1f}: {line}; {note}'

  def ends(self, step: int) -> bool:
    """Returns whether training ends with the validation after a step."""
    if not self._best or not self._patience:
      return False
    # Validations are at whole steps, which need not be whole epochs.
    wait = max(1, round(self._patience * self._steps_per_epoch))
    return step - self._best['step'] >= wait

  def last_line(self, step: int) -> str:
    """Returns the log line about the end of training at a step."""
    return (
      f'Stopped at epoch {step / self._steps_per_epoch:.1f}: no better '
      f'validation for {self._patience:g} epochs; best {self}'
    )

  def __str__(self) -> str:
    """Returns the best value and its epoch."""
    epoch = self._best['step'] / self._steps_per_epoch
    return f'{self._value(self._best)} at epoch {epoch:.1f}'

  def _value(self, scores: dict[str, Any]) -> str:
    """Returns what is compared: '75.00 %', or with its name, 'loss 0.4321'."""
    if self._by == 'loss':
      return f'loss {scores.get("loss", math.inf):.4f}'
    value = f'{metrics.percent(scores[self._by])} %'
    name = (metrics.TITLES | metrics.SEVERAL_TITLES)[self._by]
    return value if self._by == 'top1' else f'{name.removesuffix(" %")} {value}'
