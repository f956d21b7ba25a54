# SPDX-License-Identifier: Apache-2.0
"""Opens a run: processes, config, devices, workdir, log and videos.

Every mode that reads a config enters through `open_run`.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import functools
import logging
import os
import pathlib
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache
import ml_collections

from flatten_jax import paths
from flatten_jax.inputs import views, workers
from flatten_jax.inputs.augment import flips, transforms
from flatten_jax.inputs.sources import dataset, images
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.inputs.synthetic import motion_clips
from flatten_jax.runtime.configuration import (
  config as configs,
  config_keys,
  config_rules,
  few_videos,
  recipe_rules,
  recipes,
)
from flatten_jax.runtime.devices import host_memory, multihost
from flatten_jax.runtime.workdir import run_log, workdirs

log = logging.getLogger('flatten_jax')


@dataclasses.dataclass(frozen=True)
class RunContext:
  """An open run.

  Attributes:
    config: complete and checked; `config.resolve` fills in what depends on the
      videos.
    workdir: exists, is writable, and has the log.
    splits: that a recipe has opened to choose by; None if it has not.
  """

  config: ml_collections.ConfigDict
  workdir: pathlib.Path
  splits: dict[str, Videos] | None = None

  def open_videos(self, with_images: bool = False) -> dict[str, Videos]:
    """Opens the splits that `config.data` describes, see `open_videos`."""
    if self.splits is None:
      return open_videos(self.config, with_images)
    if with_images and self.config.data.images:
      return images.add_images(self.splits, self.config.data.images)
    return self.splits


@contextlib.contextmanager
def open_run(
  config: ml_collections.ConfigDict,
  workdir: str | pathlib.Path,
  *,
  exclusive: bool = False,
  like: str | pathlib.Path = '',
  settle: bool = True,
) -> Iterator[RunContext]:
  """Joins the other processes, checks `config`, opens `workdir` and its log.

  Args:
    config: of a config file, or of a checkpoint.
    workdir: created if it does not exist.
    exclusive: for training: locks `workdir`, and lets the config of a
      checkpoint in it fill what `config` leaves to the model.
    like: another workdir, whose checkpoint decides what a recipe would choose.
    settle: lets a recipe choose by the videos and by the devices here. Without,
      what is open stays so, and `config` is only complete; it is checked as for
      one device.

  Raises:
    ValueError: a value of the config is wrong.
    RuntimeError: another process trains in `workdir`.
    OSError: `workdir` cannot be written to.
  """
  workdir = workdirs.local_folder(workdir)
  saved = configs.saved_config_of(workdir)
  config = _complete(config, saved)
  multihost.initialize(config)
  open_before = recipes.open_keys(config)
  config = recipes.keep(config, saved or configs.saved_config_of(like))
  fill_and_check = functools.partial(
    configs.fill_and_check, saved=saved if exclusive else None, trusted=saved
  )
  stays_open = not settle and bool(recipes.open_keys(config))
  # A mistake is found before there are a workdir, and values for the videos.
  facts = few_videos.Facts() if stays_open else None
  filled = fill_and_check(recipes.typical(config, facts))
  if exclusive:
    recipe_rules.check_batch_size(filled)
  prepare_devices(filled)
  lock = workdirs.exclusive if exclusive else contextlib.nullcontext
  is_new = not workdir.exists()
  with lock(workdir), workdirs.friendly_disk_errors(workdir):
    workdirs.make_writable(workdir)
    run_log.start(workdir)
    if is_new:
      log.info('The workdir is %s', workdir)
    splits = None
    if open_before and not recipes.open_keys(config):
      log.info('What the config leaves open is as when this run began')
    elif stays_open:
      yield RunContext(config, workdir)
      return
    elif open_before:
      filled, splits = recipes.settle(config, filled, open_videos)
      filled = fill_and_check(filled)
    _warn_of_enlarged_frames(filled)
    if saved is None:
      _tell_of_mirrored_views(config, filled)
    yield RunContext(filled, workdir, splits)


def _complete(
  config: ml_collections.ConfigDict, saved: ml_collections.ConfigDict | None
) -> ml_collections.ConfigDict:
  """Returns a config with every key, each value checked by its own rule."""
  for notice in config_keys.notices(configs.flat(config)):
    log.warning('%s', notice)
  config = configs.complete(config)
  config_rules.check_all(config, saved, recipes.open_keys(config))
  if config.data.workers:
    workers.check_script()
  return config


def _warn_of_enlarged_frames(config: ml_collections.ConfigDict) -> None:
  if 0 < config.data.short_side < config.data.crop:
    log.warning(
      'Frames of data.short_side=%d px are enlarged to data.crop=%d px: set '
      '--config.data.short_side=%d for sharp ones',
      config.data.short_side,
      config.data.crop,
      config.data.crop,
    )


def _tell_of_mirrored_views(
  config: ml_collections.ConfigDict, filled: ml_collections.ConfigDict
) -> None:
  """Tells of ten crops, or of those in place of them, where sides matter."""
  sides, found = flips.told_sides(filled.data), views.of_config(filled.data)
  name = filled.model.name
  if sides and configs.has_mirrored_default(config, name):
    log.info(
      'Tests take %d crops, not the 10 of %s: half of those are mirrored, and '
      '%s says that left and right tell classes',
      *(found.crops, name, sides),
    )
  elif sides and found.crops == transforms.TEN_CROPS:
    log.warning(
      'Half of the 10 test crops are mirrored, but %s says that left and right '
      'tell classes: write --config.data.num_crops=3',
      sides,
    )


def settled(
  config: ml_collections.ConfigDict,
) -> tuple[dict[str, Any], list[str]]:
  """Returns the values that a run of a config would have, without a run.

  Args:
    config: of a config file.

  Returns:
    Every value, in groups, and the keys that stay open because there are no
    videos to choose by.
  """
  config = configs.complete(config)
  config_rules.check_all(config, None, recipes.open_keys(config))
  open_keys = recipes.open_keys(config)
  filled = configs.fill_and_check(recipes.typical(config))
  if open_keys and (config.data.root or config.data.train):
    filled, _ = recipes.settle(config, filled, open_videos)
    filled, open_keys = configs.fill_and_check(filled), []
  return filled.to_dict(), open_keys


def prepare_devices(config: ml_collections.ConfigDict) -> None:
  """Sets up the compilation cache and, on CPU, the reuse of freed memory."""
  if cache := compile_cache(config):
    try:
      cache.mkdir(parents=True, exist_ok=True)
      str(cache).encode()  # XLA takes UTF-8 only.
    except (OSError, UnicodeEncodeError) as error:
      log.warning('No cache of compiled programs in %s: %s', cache, error)
    else:
      _use_compile_cache(str(cache))
  if jax.default_backend() == 'cpu':
    host_memory.keep_freed_memory()  # A training step is a quarter faster.


def compile_cache(config: ml_collections.ConfigDict) -> pathlib.Path | None:
  """Returns the folder of compiled programs; None to leave it to JAX."""
  if config.compile_cache != 'auto':
    return paths.expand(config.compile_cache) if config.compile_cache else None
  # By JAX's own variables, or a caller.
  chosen = jax.config.jax_compilation_cache_dir
  off = not jax.config.jax_enable_compilation_cache
  return None if chosen or off else paths.cache('xla')


def _use_compile_cache(folder: str) -> None:
  if folder != jax.config.jax_compilation_cache_dir:
    compilation_cache.reset_cache()  # JAX would stay with the first one.
    jax.config.update('jax_compilation_cache_dir', folder)
  if 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS' not in os.environ:
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)


def open_videos(
  config: ml_collections.ConfigDict, with_images: bool = False
) -> dict[str, Videos]:
  """Opens the splits that `config.data` describes.

  Renders the embedded set first if it is asked for.

  Args:
    config: complete.
    with_images: adds `data.images` to the training videos.

  Returns:
    The videos of 'train', and of 'val' and 'test' if there are any.
  """
  data = config.data
  for key in ('root', 'train', 'val', 'test', 'prefix', 'images'):
    if paths.is_remote(data[key]):
      raise ValueError(
        f'data.{key}={data[key]}: videos are read from file systems only. '
        'Mount the bucket (gcsfuse) or copy them, and give that folder.'
      )
  if count := data.motion_clips:
    root = motion_clips.make(
      embedded_folder(data),
      motions=data.motions,
      train=count,
      val=max(count // 10, 12),
      test=max(count // 5, 12),
      **({'size': 48, 'num_frames': 16} if data.motions == 'many' else {}),
    )
    data = data.to_dict() | {'root': str(root)}
  splits = dataset.open_splits(data)
  if with_images and data['images']:
    splits = images.add_images(splits, data['images'])
  return splits


def embedded_folder(data: ml_collections.ConfigDict) -> pathlib.Path:
  """Returns the folder of the embedded set of `config.data`."""
  if data.root:
    return paths.expand(data.root)
  many = '' if data.motions == 'twelve' else f'{data.motions}_'
  return paths.cache(f'{many}motion_clips_{data.motion_clips}')
