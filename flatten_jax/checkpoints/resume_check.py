# SPDX-License-Identifier: Apache-2.0
"""Checks that a checkpoint belongs to the run that is resumed from it."""

from collections.abc import Collection
import json
import logging
import os
import pathlib
import shlex
from typing import Any

from flax import traverse_util

from flatten_jax.checkpoints import training_data
from flatten_jax.checkpoints.run_info import RunInfo

log = logging.getLogger('flatten_jax')

# Keys that change how trained weights are tested, or which are chosen.
SCORE_KEYS = (
  'eval_average',
  'eval_every',
  'eval_frame_order',
  'patience',
  'save_best_by',
  'test_checkpoint',
  'data.views',
  'data.test_frames',
  'data.num_clips',
  'data.num_crops',
  'data.test_crop',
  'data.test_short_side',
  'data.val_clips',
  'data.val_crops',
)
# Keys that may change on resume, because the training stays the same.
RESUME_MUTABLE_KEYS = (
  *SCORE_KEYS,
  'recipe',  # Values that it chose are checked each.
  'log_every',
  'loggers',
  'save_every',
  'keep_last',
  'order_report',
  'compile_cache',
  'eval_views',
  'mesh.data',
  'mesh.model',
  'sharding',
  'fsdp_min_size',
  'distributed',
  'coordinator',
  'num_processes',
  'process_id',
  'join_timeout',
  'data.root',
  'data.train',
  'data.val',
  'data.test',
  'data.prefix',
  'data.split_dir',
  'data.images',
  'data.index',
  'data.time_limit',
  'data.frame_cache_gib',
  'data.workers',
  'data.threads',
  'model.pretrained',
)
# Paths that may change on resume, but may not be added or removed.
RELOCATABLE_KEYS = ('data.images', 'data.split_dir')


def check_resumable(
  saved: RunInfo, ours: RunInfo, workdir: str | os.PathLike[str]
) -> None:
  """Refuses to resume from a checkpoint of another experiment.

  Args:
    saved: of the checkpoint.
    ours: of the run that would resume from it.
    workdir: of the checkpoint, for the message.

  Raises:
    ValueError: the classes, the videos or keys of the config differ that are
      not in RESUME_MUTABLE_KEYS; the differences are listed.
  """
  if saved.class_names != ours.class_names:
    raise ValueError(
      'The checkpoint was trained on other classes: '
      f'{_first(saved.class_names)}; the data has {_first(ours.class_names)}. '
      'Use a new --workdir.'
    )
  if lines := refused_changes(saved.config, ours.config):
    raise ValueError(
      f'{workdir} contains a run of another config:\n{lines}\n'
      f'Use the values of that run, or a new workdir. {_new_run(workdir)}'
    )
  changes = training_data.changes(saved.data, ours.data)
  if saved.videos and saved.videos != ours.videos:
    changes = f'{saved.videos} then, {ours.videos} now'
  if changes:
    raise ValueError(
      f'The run in {workdir} began with other training videos ({changes}), so '
      f'it cannot be resumed exactly. Use a new workdir. {_new_run(workdir)}'
    )
  before, now = (info.data.get('sizes') for info in (saved, ours))
  if before and now and before != now:
    log.warning(
      'Training videos have other sizes than when this run began. If they show '
      'something else now, the run is not exactly resumed.'
    )
  for key, (old, new) in differences(saved.config, ours.config).items():
    log.info('Resuming with another %s: was %r, is %r', key, old, new)


def _new_run(workdir: str | os.PathLike[str]) -> str:
  """Returns a sentence on how to start from the weights of a run."""
  folder = os.fspath(workdir)
  new, old = shlex.quote(f'{folder}_new'), shlex.quote(folder)
  return (
    'The same command starts a new run from the weights of this one with these '
    f'flags at its end:\n  --workdir={new} --config.model.pretrained={old}'
  )


def refused_changes(
  old: dict[str, Any], new: dict[str, Any], fixed: Collection[str] = ()
) -> str:
  """Returns a line for each changed value that may not change on resume.

  Args:
    old: complete config of the run.
    new: complete config to resume it with.
    fixed: keys that may not change either.
  """
  return '\n'.join(
    f'  {key}: was {before!r}, is {now!r}'
    for key, (before, now) in differences(old, new).items()
    if key not in RESUME_MUTABLE_KEYS
    or key in fixed
    or (key in RELOCATABLE_KEYS and bool(before) != bool(now))
  )


def differences(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple]:
  """Returns {'data.crop': (160, 224)}: keys whose values differ.

  Args:
    old: complete config of a checkpoint.
    new: complete config of the run that would resume from it.
  """
  old, new = _flat(old), _flat(new)
  return {
    key: (old.get(key), new.get(key))
    for key in sorted(old.keys() | new.keys())
    if old.get(key) != new.get(key)
  }


def check_state_shapes(
  saved: dict[str, Any], ours: dict[str, Any], folder: pathlib.Path
) -> None:
  """Compares names and shapes of weights before any array is read.

  Orbax would start to read all of them, and each error would be lost.

  Args:
    saved: state of a checkpoint, or the metadata of its arrays.
    ours: the state to fill, or its shapes.
    folder: of the checkpoint, for the message.

  Raises:
    ValueError: weights differ; the first ten are listed.
  """
  if lines := shape_differences(_shapes(saved), _shapes(ours)):
    raise ValueError(
      f'{folder} contains another model:\n{lines}\nUse the code that wrote it, '
      'or a new --workdir.'
    )


def shape_differences(
  saved: dict[str, tuple[int, ...]], ours: dict[str, tuple[int, ...]]
) -> str:
  """Returns a line for each of the first ten names with different shapes."""
  lines = [
    f'  {name}: {saved.get(name, "absent")} there, '
    f'{ours.get(name, "absent")} here'
    for name in sorted(saved.keys() | ours.keys())
    if saved.get(name) != ours.get(name)
  ]
  return '\n'.join(lines[:10])


def _shapes(state: dict[str, Any]) -> dict[str, tuple[int, ...]]:
  """Returns {'params.head.bias': (400,)} for the weights of a state."""
  weights = {key: state.get(key) or {} for key in ('params', 'batch_stats')}
  return {
    '.'.join(map(str, path)): tuple(leaf.shape)
    for path, leaf in traverse_util.flatten_dict(weights).items()
  }


def _flat(config: dict[str, Any]) -> dict[str, Any]:
  config = json.loads(json.dumps(config))  # Turns tuples into lists.
  return traverse_util.flatten_dict(config, sep='.')


def _first(names: tuple[str, ...]) -> str:
  more = ', ...' if len(names) > 10 else ''
  return f'{", ".join(names[:10])}{more} ({len(names)})'
