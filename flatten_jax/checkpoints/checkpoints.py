# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that are usable with nothing beside them (Orbax)."""

from collections.abc import Callable
import dataclasses
import logging
import pathlib
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from flatten_jax.checkpoints import checksums, manager, shape_check
from flatten_jax.runtime import gcs_workdir
from flatten_jax.runtime.state import TrainState

log = logging.getLogger('flatten_jax')


@dataclasses.dataclass(frozen=True)
class RunInfo:
  """What a checkpoint says of itself beside its arrays.

  Attributes:
    class_names: in the order of the model's outputs.
    config: the resolved config, as plain values.
    batch: input position: number of the next batch of the training stream,
      which is a pure function of (seed, batch) and of what is trained on.
    epoch: the same in epochs, for people.
    videos: how many are trained on, still images included; 0 where that was
      not noted.
  """

  class_names: tuple[str, ...]
  config: dict[str, Any]
  batch: int = 0
  epoch: float = 0.0
  videos: int = 0

  @classmethod
  def from_json(cls, values: dict[str, Any]) -> 'RunInfo':
    """Reads what `dataclasses.asdict` wrote."""
    return cls(**values | {'class_names': tuple(values['class_names'])})


class Checkpoints:
  """The checkpoints of a workdir: saved while training goes on, newest first.

  Keeps the last `keep_last` and the one of the best validation accuracy. A
  damaged one is named, and the one before is used; training sets it aside.
  """

  def __init__(
    self,
    workdir: str | pathlib.Path,
    *,
    keep_last: int = 2,
    create: bool = True,
  ):
    self._workdir = workdir
    self.folder = gcs_workdir.checkpoint_root(workdir) / 'checkpoints'
    if not create and not self.folder.is_dir():
      raise FileNotFoundError(
        f'No checkpoints in {self.folder.parent}. Expected the workdir of a '
        'training run (the --workdir it was started with).'
      )
    self._options = {'keep_last': keep_last, 'create': create}
    self._manager = manager.Manager(self.folder, **self._options)

  def save(
    self, state: TrainState, info: RunInfo, metrics: dict[str, float] | None
  ) -> None:
    """Starts to save; arrays are copied before this returns.

    Args:
      state: what to save; the step names the folder.
      info: written beside it as JSON.
      metrics: of the validation at this step, with 'top1'; None without one.

    Raises:
      OSError: this save failed, or the one before.
    """
    args = ocp.args.Composite(
      state=ocp.args.PyTreeSave(_as_dict(state)),
      info=ocp.args.JsonSave(dataclasses.asdict(info)),
    )
    self._manager.start(int(state.step), args, metrics)
    gcs_workdir.upload(self._workdir)

  def steps(self) -> list[int]:
    """Steps of the complete checkpoints, oldest first."""
    return sorted(self._manager.all_steps())

  def best_step(self) -> int | None:
    """The step of the highest validation top-1, if there was a validation."""
    return self._manager.best_step()

  def choose(self, which: str | None = None) -> int:
    """The step to use: the 'last' one (also for None) or the 'best'.

    Raises:
      FileNotFoundError: there is no complete checkpoint.
      OSError: the best one is damaged, or all are.
      ValueError: 'best' is asked for and nothing was validated.
    """
    steps = self.steps()
    if not steps:
      raise FileNotFoundError(
        f'{self.folder} holds no complete checkpoint: the run stopped before '
        'its first save. Train with the same --workdir first.'
      )
    if which not in (None, 'last', 'best'):
      raise ValueError(f"test_checkpoint is 'last' or 'best', not {which!r}.")
    if which == 'best':
      steps = [self.best_step()]
      if steps == [None]:
        raise ValueError("There is no 'best' checkpoint without a val split.")
    for step in reversed(steps):
      cause = checksums.find_corruption(self.folder / str(step))
      if not cause:
        return step
      log.warning('Checkpoint %d is damaged: %s.', step, cause)
    raise OSError(
      f'The {which or "last"} checkpoint in {self.folder} is damaged ({cause}) '
      'and there is no other to use in its place. Choose another with '
      "test_checkpoint='last' or 'best', or train it again."
    )

  def info(self, step: int) -> RunInfo:
    """What the checkpoint of `step` says of itself, without its arrays."""
    args = ocp.args.Composite(info=ocp.args.JsonRestore())
    return RunInfo.from_json(self._manager.restore(step, args=args)['info'])

  def restore(self, state: TrainState, step: int) -> TrainState:
    """Fills `state` (arrays or shapes) from the checkpoint of `step`.

    Each device reads what its part of the sharding is, whatever it was when
    saved.
    """
    return TrainState(**self._restore(_as_dict(state), step))

  def restore_weights(self, step: int) -> dict[str, dict]:
    """{'params', 'batch_stats'} to evaluate with, as numpy arrays.

    Moving averages where the run kept them, whatever the model.
    """
    if 'average' in self._manager.item_metadata(step)['state'].tree:
      return self.restore_arrays(step, ('average',))['average']
    return self.restore_arrays(step, ('params', 'batch_stats'))

  def restore_arrays(
    self, step: int, keys: tuple[str, ...] = ()
  ) -> dict[str, Any]:
    """The state, or the named parts of it, as numpy arrays in plain dicts."""
    tree = self._manager.item_metadata(step)['state'].tree
    empty = lambda leaf: np.empty(leaf.shape, leaf.dtype)  # noqa: E731
    target = {key: jax.tree.map(empty, tree[key]) for key in keys or tree}
    return self._restore(target, step, partial_restore=True)

  def _restore(self, target, step, **options):
    args = ocp.args.PyTreeRestore(
      target,
      restore_args=ocp.checkpoint_utils.construct_restore_args(target),
      **options,
    )
    args = ocp.args.Composite(state=args)
    return self._manager.restore(step, args=args)['state']

  def restore_latest(
    self, state: TrainState, check: Callable[[RunInfo], None]
  ) -> TrainState:
    """Fills `state` from the newest checkpoint that can be read, if any.

    Args:
      state: arrays or shapes, with shardings; returned as it is where there
        is no checkpoint.
      check: raises where the checkpoint belongs to another experiment.

    Raises:
      OSError: the newest one is as it was written, and cannot be restored all
        the same: the storage fails.
      ValueError: it holds the weights of another model; what differs is listed.
    """
    steps = self.steps()
    for step in reversed(steps):
      cause = self._manager.find_corruption(step)
      if cause:
        self._quarantine(step, cause)
        continue
      # Orbax raises whatever its storage raised.
      try:
        info = self.info(step)
        tree = self._manager.item_metadata(step)['state'].tree
      except Exception as error:
        self._not_restored(step, error)
        continue
      check(info)  # First: the state of another config may have other parts.
      shape_check.check_state_shapes(
        tree, _as_dict(state), self.folder / str(step)
      )
      try:
        return self.restore(state, step)
      except Exception as error:
        self._not_restored(step, error)
    if steps:
      log.warning('No checkpoint is left: training starts from the beginning.')
    return state

  def _not_restored(self, step: int, error: Exception) -> None:
    """Sets a checkpoint aside, but for one whose files are as written."""
    cause = manager.first_line(error)
    if checksums.has_checksums(self.folder / str(step)):
      raise OSError(
        f'Checkpoint {step} in {self.folder} is whole, and cannot be restored: '
        f'{cause}. Nothing was changed; can all of the folder be read?'
      ) from error
    self._quarantine(step, cause)

  def _quarantine(self, step: int, cause: str) -> None:
    aside = self._manager.quarantine(step)
    log.warning(
      'Checkpoint %d cannot be read (%s). It is now %s.', step, cause, aside
    )
    self._manager = manager.Manager(self.folder, **self._options)

  def check(self) -> None:
    """Raises OSError where a save is known to have failed; waits for none."""
    self._manager.check()

  def wait(self) -> None:
    """Returns when the last save is on disk; raises OSError if it failed."""
    self._manager.finish()

  def close(self) -> None:
    """Waits for the last save, and ends the threads that do it."""
    self.wait()
    self._manager.close()

  def __enter__(self) -> 'Checkpoints':
    return self

  def __exit__(self, *_) -> None:
    self.close()


def _as_dict(state: TrainState) -> dict[str, Any]:
  """Its fields, without averages where none are kept."""
  names = (field.name for field in dataclasses.fields(state))
  values = {name: getattr(state, name) for name in names}
  return {k: v for k, v in values.items() if k != 'average' or v}
