# SPDX-License-Identifier: Apache-2.0
"""Orbax's checkpoint manager with checksums and one error message."""

from collections.abc import Iterator
import contextlib
import errno
import functools
import logging
import math
import os
import pathlib
import re
import tempfile

from etils import epath
import jax
from jax.experimental import multihost_utils
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from flatten_jax import paths
from flatten_jax.checkpoints import checksums

log = logging.getLogger('flatten_jax')

# Paths that every library takes as they are.
_PLAIN = re.compile(r'[\w./ +=,@%~-]*', re.ASCII)
# Causes to look for in the long error messages of storages.
CAUSES = ('ENOSPC', 'EDQUOT', 'EFBIG', 'EROFS', 'EACCES', 'EIO')

# By default, devices that hold the same array write a part each, however small:
# of a network of few parameters, a save takes three times as long.
_ARRAYS = ocp.type_handlers.create_type_handler_registry(
  (np.ndarray, ocp.type_handlers.NumpyHandler()),
  (
    jax.Array,
    ocp.type_handlers.ArrayHandler(min_slice_bytes_for_replica_parallel=2**20),
  ),
)

_REPLACED = 'replaced_checkpoint_'  # And the step, beside the checkpoints.

# Scores by which a validation can be the best.
BEST_BY = ('top1', 'loss', 'top5', 'mean_class', 'map')


def rank(scores: dict[str, float], by: str = 'top1') -> tuple[float, ...]:
  """Returns what orders validations: the best has the highest.

  It has the highest accuracy, or the lowest loss; of equal accuracies the
  lowest loss; of those the first step. A loss and a step are unknown in
  checkpoints of earlier versions, of which the last is the best.

  Args:
    scores: of a validation.
    by: one of `BEST_BY`.
  """
  loss, step = scores.get('loss', math.inf), scores.get('step', 0)
  first = -loss if by == 'loss' else scores.get(by, -math.inf)
  return first, -loss, -step


class Manager(ocp.CheckpointManager):
  """Keeps the last `keep_last` checkpoints and the best, see `rank`.

  A checkpoint gets its final name when it is complete and has checksums. An old
  one is deleted after a newer one is on the disk.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    keep_last: int,
    create: bool,
    best_by: str = 'top1',
  ):
    """Opens `folder`, read-only without `create`."""
    order = functools.partial(rank, by=best_by)
    self._folder = folder
    self._replaces = False  # Whether a checkpoint is set aside.
    if create:
      self._settle_replacements()
    self._saving: int | None = None  # The step of a save that may still fail.
    best = policies.BestN(
      get_metric_fn=order, n=1, keep_checkpoints_without_metrics=False
    )
    options = ocp.CheckpointManagerOptions(
      preservation_policy=policies.AnyPreservationPolicy(
        [policies.LatestN(keep_last), best]
      ),
      best_fn=order,
      create=create,
      cleanup_tmp_directories=create,  # A kill may leave some.
      read_only=not create,
      async_options=ocp.AsyncOptions(
        post_finalization_callback=self._write_checksums
      ),
    )
    handlers = {
      'state': ocp.PyTreeCheckpointHandler(type_handler_registry=_ARRAYS),
      'info': ocp.JsonCheckpointHandler(),
    }
    self._alias = None
    if not paths.is_remote(folder) and not _PLAIN.fullmatch(str(folder)):
      if create:
        folder.mkdir(parents=True, exist_ok=True)
      # Orbax and TensorStore read some paths as patterns or addresses.
      self._alias = tempfile.TemporaryDirectory(prefix='flatten_jax_')
      alias = pathlib.Path(self._alias.name) / folder.name
      alias.symlink_to(folder.absolute())
      folder = alias
    super().__init__(folder, options=options, item_handlers=handlers)

  def close(self) -> None:
    """Waits for the last save and ends the background threads."""
    super().close()
    if self._alias:
      self._alias.cleanup()

  def metrics(self, step: int) -> dict[str, float] | None:
    """Returns the validation metrics of `step`; None without a validation.

    Orbax raises if they are damaged, and then finds no other checkpoint.
    """
    try:
      return super().metrics(step)
    except ValueError as error:
      log.warning('Metrics of checkpoint %d cannot be read: %s', step, error)
      return None

  def start(
    self, step: int, args: ocp.args.Composite, metrics: dict | None
  ) -> None:
    """Starts a save after the previous one has finished.

    Replaces a checkpoint of the same step, which was saved without its metrics,
    when the new one is on the disk.

    Raises:
      OSError: either of them failed.
    """
    self.finish()
    self._saving = step
    with self._one_error():
      if step in self.all_steps():
        self._set_aside(step)
      self.save(step, args=args, metrics=metrics)

  def check(self) -> None:
    """Raises OSError if a save is known to have failed; does not wait."""
    if self._saving is not None and not self.is_saving_in_progress():
      self.finish()

  def finish(self) -> None:
    """Waits until the last save is on the disk; raises OSError if it failed."""
    with self._one_error():
      self.wait_until_finished()
    self._saving = None
    if self._replaces:
      self._settle_replacements()

  def find_corruption(self, step: int) -> str | None:
    """Returns the damage of a checkpoint that the first process finds."""
    cause = None
    if jax.process_index() == 0:
      cause = checksums.find_corruption(self._folder / str(step))
    damaged = multihost_utils.broadcast_one_to_all(np.int32(bool(cause)))
    return (cause or 'damaged') if damaged else None

  def _set_aside(self, step: int) -> None:
    """Renames a checkpoint until another of its step is on the disk."""
    self._replaces = True
    if jax.process_index() == 0:
      old = epath.Path(self._folder / str(step))
      old.rename(epath.Path(self._folder.parent) / f'{_REPLACED}{step}')
    multihost_utils.sync_global_devices(f'checkpoint {step} is set aside')
    self.reload()

  def _settle_replacements(self) -> None:
    """Removes what was set aside, or puts it back if nothing replaced it."""
    self._replaces = False
    if jax.process_index() > 0:
      return
    for old in map(epath.Path, self._folder.parent.glob(f'{_REPLACED}*')):
      new = epath.Path(self._folder / old.name.removeprefix(_REPLACED))
      if new.exists():
        old.rmtree()
      else:
        old.rename(new)

  def quarantine(self, step: int) -> epath.Path:
    """Closes the manager and renames a checkpoint; returns its new path."""
    self.close()
    path = epath.Path(self._folder.parent) / f'damaged_checkpoint_{step}'
    if jax.process_index() == 0:
      if path.exists():
        path.rmtree()
      epath.Path(self._folder / str(step)).rename(path)
    multihost_utils.sync_global_devices(f'checkpoint {step} is in quarantine')
    return path

  def _is_there(self, step: int | None) -> bool:
    return epath.Path(self._folder / str(step)).exists()

  def _unfinished(self) -> list[pathlib.Path]:
    """Returns the folders of saves that are in progress or failed."""
    return list(self._folder.glob(f'*{ocp.utils.TMP_DIR_SUFFIX}*'))

  def _write_checksums(self) -> None:
    """Called in the background, before a folder gets its final name.

    Object stores have checksums of their own.
    """
    if not paths.is_remote(self._folder):
      for folder in self._unfinished():
        checksums.write_checksums(folder)

  @contextlib.contextmanager
  def _one_error(self) -> Iterator[None]:
    """Turns any error of Orbax and the storage into one OSError."""
    try:
      yield
    except Exception as error:
      step, self._saving = self._saving, None
      if jax.process_index() == 0:
        for folder in self._unfinished():  # They only take up space.
          with contextlib.suppress(OSError):
            epath.Path(folder).rmtree()
        self._settle_replacements()
      last = max(filter(self._is_there, (step, *self.all_steps())), default=0)
      raise OSError(
        f'Checkpoint {step} could not be saved: {first_line(error)}. When '
        f'{self._folder.parent} is writable again, the same command resumes '
        f'after step {last}.'
      ) from error


def first_line(error: Exception) -> str:
  """Returns the cause of an error, without the messages of each layer."""
  for name in CAUSES:
    if (cause := os.strerror(getattr(errno, name))) in str(error):
      return cause
  return (str(error).splitlines() or [type(error).__name__])[0]
