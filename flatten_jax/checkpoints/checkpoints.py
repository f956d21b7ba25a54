# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a workdir: asynchronous saves, and restores (Orbax).

A checkpoint contains everything to use it: arrays, class names and config.
"""

from collections.abc import Callable
import contextlib
import dataclasses
import logging
import pathlib
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from flatten_jax.checkpoints import checksums, manager, resume_check
from flatten_jax.checkpoints.run_info import RunInfo
from flatten_jax.runtime.state import TrainState
from flatten_jax.runtime.workdir import gcs_workdir

log = logging.getLogger('flatten_jax')


class Checkpoints:
  """The checkpoints of a workdir.

  Keeps the last `keep_last` and the one of the best validation. If one is
  damaged, the log names it and the one before is used; training renames it.
  """

  def __init__(
    self,
    workdir: str | pathlib.Path,
    *,
    keep_last: int = 2,
    create: bool = True,
    best_by: str | None = None,
  ):
    """Opens workdir/checkpoints, read-only without `create`.

    Args:
      workdir: of a run.
      keep_last: how many are kept besides the best.
      create: the folder, and the right to write to it.
      best_by: see `config.save_best_by`; None as the newest checkpoint says.

    Raises:
      FileNotFoundError: it does not exist, without `create`.
    """
    self.workdir = workdir
    self.folder = gcs_workdir.checkpoint_root(workdir) / 'checkpoints'
    if not create and not self.folder.is_dir():
      raise FileNotFoundError(
        f'No checkpoints in {self.folder.parent}. Expected the --workdir of a '
        'training run.'
      )
    self._options = {'keep_last': keep_last, 'create': create}
    self._manager = manager.Manager(self.folder, **self._options)
    self.best_by = best_by or self._saved_best_by()
    if self.best_by != 'top1':
      self._options['best_by'] = self.best_by
      self._manager.close()
      self._manager = manager.Manager(self.folder, **self._options)

  def save(
    self, state: TrainState, info: RunInfo, metrics: dict[str, float] | None
  ) -> None:
    """Starts a save; the arrays are copied before this returns.

    Args:
      state: its step names the folder.
      info: saved as JSON.
      metrics: of the validation at this step, with `manager.BEST_BY`; None
        without one.

    Raises:
      OSError: this save failed, or the previous one.
    """
    args = ocp.args.Composite(
      state=ocp.args.PyTreeSave(_as_dict(state)),
      info=ocp.args.JsonSave(dataclasses.asdict(info)),
    )
    step = int(state.step)
    self._manager.start(step, args, metrics and metrics | {'step': step})
    gcs_workdir.upload(self.workdir)

  def steps(self) -> list[int]:
    """Returns the steps of the complete checkpoints, oldest first."""
    return sorted(self._manager.all_steps())

  def best_step(self) -> int | None:
    """Returns the step of the best validation; None without one.

    It has the best of `config.save_best_by`; of equal ones, the lowest loss.
    """
    return self._manager.best_step()

  def _saved_best_by(self) -> str:
    """Returns what the newest checkpoint's config calls the best."""
    for step in reversed(self.steps()):
      # One that is damaged is reported where it is used.
      with contextlib.suppress(Exception):
        return self.info(step).config['save_best_by']
    return 'top1'

  def scores(self, step: int) -> dict[str, Any] | None:
    """Returns the validation of a step; None without one."""
    return self._manager.metrics(step)

  def choose(self, which: str | None = None) -> int:
    """Returns the step to use: the 'last' (also for None) or the 'best'.

    Before the first validation the best is the last, and the log says so.

    Raises:
      FileNotFoundError: there is no complete checkpoint.
      OSError: the best one is damaged, or all are.
      ValueError: `which` is another word.
    """
    steps = self.steps()
    if not steps:
      raise FileNotFoundError(
        f'{self.folder} has no complete checkpoint: the run stopped before its '
        'first save. Train with the same --workdir first.'
      )
    if which not in (None, 'last', 'best'):
      raise ValueError(f"test_checkpoint is 'last' or 'best', not {which!r}.")
    best = self.best_step() if which == 'best' else None
    if best is not None:
      steps = [best]
    elif which == 'best':
      log.info('There was no validation yet: the last checkpoint is used')
    for step in reversed(steps):
      cause = checksums.find_corruption(self.folder / str(step))
      if not cause:
        return step
      log.warning('Checkpoint %d is damaged: %s.', step, cause)
    raise OSError(
      f'The {which or "last"} checkpoint in {self.folder} is damaged ({cause}) '
      'and there is no other to use instead. Train again in a new workdir; to '
      "evaluate, try the other one, test_checkpoint='last' or 'best'."
    )

  def info(self, step: int) -> RunInfo:
    """Returns the metadata of the checkpoint of `step`.

    Raises:
      ValueError: a later version of this package wrote it.
    """
    return RunInfo.from_json(self._read_info(step))

  def restore(self, state: TrainState, step: int) -> TrainState:
    """Fills `state` (arrays or shapes) from the checkpoint of `step`.

    Each device reads its part of the sharding, which may differ from the one
    when the checkpoint was saved.
    """
    return TrainState(**self._restore(_as_dict(state), step))

  def restore_weights(self, step: int) -> dict[str, dict]:
    """Returns {'params', 'batch_stats'} for evaluation, as numpy arrays.

    They are moving averages if the run computed them.
    """
    if 'average' in self._metadata(step):
      return self.restore_arrays(step, ('average',))['average']
    return self.restore_arrays(step, ('params', 'batch_stats'))

  def restore_arrays(
    self, step: int, keys: tuple[str, ...] = ()
  ) -> dict[str, Any]:
    """Returns the state, or the `keys` of it, as dicts of numpy arrays."""
    tree = self._metadata(step)
    empty = lambda leaf: np.empty(leaf.shape, leaf.dtype)  # noqa: E731
    target = {key: jax.tree.map(empty, tree[key]) for key in keys or tree}
    return self._restore(target, step, partial_restore=True)

  def _read_info(self, step: int) -> dict[str, Any]:
    args = ocp.args.Composite(info=ocp.args.JsonRestore())
    return self._manager.restore(step, args=args)['info']

  def _metadata(self, step: int) -> dict[str, Any]:
    return self._manager.item_metadata(step)['state'].tree

  def _restore(self, target, step, **options):
    restore_args = ocp.checkpoint_utils.construct_restore_args(target)
    args = ocp.args.PyTreeRestore(target, restore_args=restore_args, **options)
    args = ocp.args.Composite(state=args)
    return self._manager.restore(step, args=args)['state']

  def restore_latest(
    self, state: TrainState, check: Callable[[RunInfo], None]
  ) -> TrainState:
    """Fills `state` from the newest intact checkpoint, if there is one.

    Args:
      state: arrays or shapes, with shardings; returned unchanged if there is no
        checkpoint.
      check: raises if the checkpoint belongs to another experiment.

    Raises:
      OSError: the newest one is intact but cannot be read, as when the storage
        fails.
      ValueError: it contains another model; the differences are listed.
    """
    steps = self.steps()
    for step in reversed(steps):
      if cause := self._manager.find_corruption(step):
        self._quarantine(step, cause)
        continue
      try:  # Orbax raises the errors of any storage.
        info, tree = self._read_info(step), self._metadata(step)
      except Exception as error:
        self._handle_unreadable(step, error)
        continue
      # Config first: the state of another config may have other parts.
      check(RunInfo.from_json(info))
      folder = self.folder / str(step)
      resume_check.check_state_shapes(tree, _as_dict(state), folder)
      try:
        return self.restore(state, step)
      except Exception as error:
        self._handle_unreadable(step, error)
    if steps:
      log.warning('No checkpoint is left: training starts from the beginning.')
    return state

  def _handle_unreadable(self, step: int, error: Exception) -> None:
    """Quarantines a checkpoint, unless its checksums prove it intact."""
    cause = manager.first_line(error)
    if checksums.has_checksums(self.folder / str(step)):
      raise OSError(
        f'Checkpoint {step} in {self.folder} is intact but cannot be restored: '
        f'{cause}. Nothing was changed. Check that all of the folder is '
        'readable.'
      ) from error
    self._quarantine(step, cause)

  def _quarantine(self, step: int, cause: str) -> None:
    path = self._manager.quarantine(step)
    log.warning(
      'Checkpoint %d cannot be read (%s). It is now %s.', step, cause, path
    )
    self._manager = manager.Manager(self.folder, **self._options)

  def check(self) -> None:
    """Raises OSError if a save is known to have failed; does not wait."""
    self._manager.check()

  def wait(self) -> None:
    """Waits until the last save is on the disk; raises OSError if it failed."""
    self._manager.finish()

  def close(self) -> None:
    """Waits for the last save and ends the background threads."""
    self.wait()
    self._manager.close()

  def __enter__(self) -> 'Checkpoints':
    return self

  def __exit__(self, *_) -> None:
    self.close()


def _as_dict(state: TrainState) -> dict[str, Any]:
  """Returns the fields of a state, without empty averages."""
  return {k: v for k, v in vars(state).items() if k != 'average' or v}
