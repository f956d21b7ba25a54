# SPDX-License-Identifier: Apache-2.0
"""Orbax's manager, whose saves are sealed, and fail with one message."""

from collections.abc import Iterator
import contextlib
import errno
import logging
import os
import pathlib

from etils import epath
import jax
from jax.experimental import multihost_utils
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from flatten_jax.checkpoints import checksums
from flatten_jax.runtime import gcs_workdir

log = logging.getLogger('flatten_jax')

# What a storage may say, in the midst of where it was noticed.
CAUSES = ('ENOSPC', 'EDQUOT', 'EFBIG', 'EROFS', 'EACCES', 'EIO')


class Manager(ocp.CheckpointManager):
  """Keeps the last `keep_last` checkpoints and that of the highest 'top1'.

  Each is whole or has another name, and carries checksums of its files, see
  `integrity`. An old one is deleted once a newer one is on the disk.
  """

  def __init__(self, folder: pathlib.Path, keep_last: int, create: bool):
    """Opens `folder`; without `create`, to read only."""
    self._folder = folder
    self._saving: int | None = None  # The step of a save that may yet fail.
    top1 = lambda metrics: metrics['top1']  # noqa: E731
    best = policies.BestN(
      get_metric_fn=top1, n=1, keep_checkpoints_without_metrics=False
    )
    options = ocp.CheckpointManagerOptions(
      preservation_policy=policies.AnyPreservationPolicy(
        [policies.LatestN(keep_last), best]
      ),
      best_fn=top1,
      create=create,
      cleanup_tmp_directories=create,  # What a kill left half-written.
      read_only=not create,
      async_options=ocp.AsyncOptions(
        post_finalization_callback=self._write_checksums
      ),
    )
    handlers = {
      'state': ocp.PyTreeCheckpointHandler(),
      'info': ocp.JsonCheckpointHandler(),
    }
    super().__init__(folder, options=options, item_handlers=handlers)

  def metrics(self, step: int) -> dict[str, float] | None:
    """What the validation gave at `step`; None without one.

    Where Orbax raises, the spoilt metrics of one checkpoint hide all others.
    """
    try:
      return super().metrics(step)
    except ValueError as error:
      log.warning('Metrics of checkpoint %d cannot be read: %s', step, error)
      return None

  def start(
    self, step: int, args: ocp.args.Composite, metrics: dict | None
  ) -> None:
    """Starts a save, when the one before is done.

    Raises:
      OSError: either of them failed.
    """
    self.finish()
    self._saving = step
    with self._one_error():
      self.save(step, args=args, metrics=metrics)

  def check(self) -> None:
    """Raises OSError where a save is known to have failed; waits for none."""
    if self._saving is not None and not self.is_saving_in_progress():
      self.finish()

  def finish(self) -> None:
    """Returns when the last save is on the disk; OSError where it failed."""
    with self._one_error():
      self.wait_until_finished()
    self._saving = None

  def find_corruption(self, step: int) -> str | None:
    """What the first process finds wrong with a checkpoint, if anything."""
    cause = None
    if jax.process_index() == 0:
      cause = checksums.find_corruption(self._folder / str(step))
    damaged = multihost_utils.broadcast_one_to_all(np.int32(bool(cause)))
    return (cause or 'damaged') if damaged else None

  def quarantine(self, step: int) -> epath.Path:
    """Closes, and moves a checkpoint out of its folder. -> where it is."""
    self.close()
    aside = epath.Path(self._folder.parent) / f'damaged_checkpoint_{step}'
    if jax.process_index() == 0:
      if aside.exists():
        aside.rmtree()
      epath.Path(self._folder / str(step)).rename(aside)
    multihost_utils.sync_global_devices(f'checkpoint {step} was set aside')
    return aside

  def _unfinished(self) -> list[pathlib.Path]:
    """Folders of saves that are under way, or failed."""
    return list(self._folder.glob(f'*{ocp.utils.TMP_DIR_SUFFIX}*'))

  def _write_checksums(self) -> None:
    """Called beside the training, before a folder gets its final name.

    Object stores have checksums of their own, and no names to change.
    """
    if gcs_workdir.is_remote(self._folder):
      return
    for folder in self._unfinished():
      checksums.write_checksums(folder)

  @contextlib.contextmanager
  def _one_error(self) -> Iterator[None]:
    """Makes one message of whatever Orbax and the storage raise."""
    try:
      yield
    except Exception as error:
      step, self._saving = self._saving, None
      if jax.process_index() == 0:
        for folder in self._unfinished():  # They only take up room.
          with contextlib.suppress(OSError):
            epath.Path(folder).rmtree()
      workdir = self._folder.parent
      whole = max((s for s in self.all_steps() if s != step), default=0)
      raise OSError(
        f'Checkpoint {step} could not be saved: {first_line(error)}. Once '
        f'{workdir} can be written to again, the same command goes on after '
        f'step {whole}.'
      ) from error


def first_line(error: Exception) -> str:
  """The cause, without all the layers of storage that it went through."""
  for name in CAUSES:
    if (cause := os.strerror(getattr(errno, name))) in str(error):
      return cause
  return (str(error).splitlines() or [type(error).__name__])[0]
