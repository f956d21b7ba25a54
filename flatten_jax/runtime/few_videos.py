# SPDX-License-Identifier: Apache-2.0
"""Chooses what `configs/folder.py` leaves open, by the videos and the device.

`table` has every choice with its reason, and is the place to change one. A
value that a person gives is kept, and those below it in the table follow it.
"""

import collections
from collections.abc import Callable, Iterator, Mapping
import dataclasses
import logging
from typing import Any

import jax
import ml_collections
import numpy as np

from flatten_jax import models
from flatten_jax.inputs import video_lengths
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.runtime import default_config
from flatten_jax.runtime.config_keys import known_keys, value_of
from flatten_jax.runtime.devices import sharding

log = logging.getLogger('flatten_jax')

Choice = tuple[str, Any, str]  # Key, value, reason; '' for what is just off.
Splits = Mapping[str, Videos]

SMALL_MODEL = 'uniformer_nano'
VAL_SHARE, LEAST_VAL = 0.12, 8
LOOKED_AT = 64  # Training videos whose frames are counted.


@dataclasses.dataclass(frozen=True)
class Facts:
  """The facts that choices depend on.

  Attributes:
    train: number of training videos, without those that are held back.
    val: number of validation videos.
    val_holdout: share of training videos that was held back for them.
    smallest, largest: numbers of training videos of two classes.
    lengths: numbers of frames of some training videos, ascending.
    device: 'cpu', 'gpu' or 'tpu'.
    devices: number of devices that a batch is divided over.
  """

  train: int = 200
  val: int = 0
  val_holdout: float = 0.0
  smallest: int = 20
  largest: int = 20
  lengths: tuple[int, ...] = ()
  device: str = 'cpu'
  devices: int = 1

  @property
  def on_cpu(self) -> bool:
    """Whether there is no accelerator."""
    return self.device == 'cpu'


# --- The choices --------------------------------------------------------------


def table(config: ml_collections.ConfigDict, facts: Facts) -> Iterator[Choice]:
  """Yields every choice; `config` has those above it when the next is made."""
  yield from _of_model(config, facts)
  yield from _of_clips(config, facts)
  yield from _of_augmentation(config, facts)
  yield from _of_steps(config, facts)
  yield from _of_weights(config)
  yield from _of_validation(config, facts)


def _of_model(config, facts) -> Iterator[Choice]:
  if facts.on_cpu:
    yield 'model.name', SMALL_MODEL, 'trains on a CPU in minutes'
  else:
    yield 'model.name', 'uniformer_xxs', f'a small model for a {facts.device}'
  model = config.model
  published = models.MODELS[model.name].weights if _known(config) else {}
  why = 'from random weights'
  if 'imagenet1k' in published:
    why += '; imagenet1k would be downloaded'
  yield 'model.pretrained', '', why
  rate = 0.0 if model.name == SMALL_MODEL else 0.05
  yield 'model.drop_path_rate', rate, ''


def _of_clips(config, facts) -> Iterator[Choice]:
  yield 'data.sampling', 'even', 'the whole video, however long it is'
  yield 'data.num_frames', *_num_frames(config, facts)
  small, frames = config.model.name == SMALL_MODEL, config.data.num_frames
  # A multiple of 32 in all: 3 x 32 and 4 x 32, 3 x 128 and 4 x 112.
  side = 32 if small else 112 if frames % 16 == 0 else 128
  yield 'data.crop', side, f'px of a frame, as {config.model.name} likes it'
  side = config.data.crop * 5 // 4
  yield 'data.short_side', side, 'a quarter more than the crop'
  yield 'data.num_crops', 3, 'tests see all of a wide frame'
  yield 'data.frame_cache_gib', 2.0, 'each video is decoded once'


def _of_augmentation(config, facts) -> Iterator[Choice]:
  small = config.model.name == SMALL_MODEL
  yield 'data.crop_area', (0.5, 1.0), 'shares of the frame; less may miss it'
  yield 'data.flip', False, 'left and right may be the label; else set True'
  if 'flow' in config.data.input:
    yield 'data.color_jitter', 0.0, ''
  else:
    yield 'data.color_jitter', 0.3, 'light and cameras differ'
  yield 'data.random_erasing', 0.0, ''
  yield (
    'mixup',
    *((0.0, 'too small a model for mixed clips') if small else (0.8, '')),
  )
  yield 'cutmix', *((0.0, 'the same') if small else (1.0, ''))
  uneven = facts.largest > 1.5 * facts.smallest
  classes = f'classes have {facts.smallest} to {facts.largest} videos'
  yield 'data.balanced', uneven, classes if uneven else ''


def _of_steps(config, facts) -> Iterator[Choice]:
  small = config.model.name == SMALL_MODEL
  usual = 24 if small else 16
  batch = int(np.clip(facts.train // 6, 4, usual))
  batch = max(batch // facts.devices, 1) * facts.devices
  why = 'of the usual size' if batch >= usual else 'six steps an epoch or so'
  yield 'batch_size', batch, why
  epochs = float(np.clip(round(100_000 / facts.train), 20, 150))
  yield 'epochs', epochs, f'for {facts.train} training videos; 20 to 150'
  tenth = round(config.epochs / 10, 2) or -1.0
  yield 'warmup_epochs', tenth, 'a tenth of the epochs'
  yield 'lr', 1e-3 if small else 5e-4, 'from random weights'


def _of_weights(config) -> Iterator[Choice]:
  yield 'freeze_epochs', 0.0, ''
  yield 'layer_decay', 1.0, ''
  yield 'ema', 0.0, ''


def _of_validation(config, facts) -> Iterator[Choice]:
  share, count = facts.val_holdout, f'{facts.val} videos for validation'
  if not share and not facts.val:
    count = 'too few videos to hold some back'
  yield 'data.val_holdout', share, count
  if facts.val:
    yield 'test_checkpoint', 'best', 'of the validation'
    every = max(1.0, float(round(config.epochs / 50)))
    yield (
      'patience',
      max(10.0, float(config.epochs // 3)),
      ('epochs without a better one, then it ends'),
    )
  else:
    yield 'test_checkpoint', 'last', 'there is no validation'
    every = 5.0
    yield 'patience', 0.0, ''
  yield 'eval_every', every, 'epochs' if facts.val else ''
  yield 'save_every', every, 'epochs'
  yield 'order_report', True, 'after the test: what the order of frames brings'


def _num_frames(config, facts) -> tuple[int, str]:
  """Returns the frames of a clip: fewer where most videos are shorter."""
  if config.clip_model == 'one_frame':
    return 1, 'one_frame'
  if config.grid:
    return int(np.prod(config.grid)), 'a frame for each place of the grid'
  usual = 9 if config.model.name == SMALL_MODEL else 16
  if config.flatten == 'nested':
    usual = 16
  if not facts.lengths or (
    _known(config) and models.takes_clips(config.model.name)
  ):
    return usual, 'a square grid'
  median = facts.lengths[len(facts.lengths) // 2]
  squares = [n for n in (16, 9, 4) if n <= usual]
  if config.flatten == 'nested':
    squares.remove(9)
  frames = next((n for n in squares if n <= median), squares[-1])
  return frames, f'a square grid; half of the videos have {median} or more'


def _known(config) -> bool:
  return config.model.name in models.MODELS


# --- Choosing -----------------------------------------------------------------


def open_keys(config: ml_collections.ConfigDict) -> list[str]:
  """Returns the keys that a config leaves open for its recipe."""
  if not config.recipe:
    return []
  return [key for key in known_keys() if value_of(config, key) is None]


def leave_open(config: ml_collections.ConfigDict) -> None:
  """Sets the recipe, and leaves every key of `table` open, in place."""
  config.recipe = 'few_videos'
  trial = default_config.base()
  keys = [key for key, *_ in table(trial, Facts())]
  default_config.leave_open(config, *keys)


def choose(
  config: ml_collections.ConfigDict, facts: Facts
) -> tuple[ml_collections.ConfigDict, list[Choice]]:
  """Returns a config with a value for every open key, and the choices."""
  open_ones, made = set(open_keys(config)), []
  config = config.copy_and_resolve_references()
  for key, value, reason in table(config, facts):
    if key in open_ones:
      with config.ignore_type():
        config.update_from_flattened_dict({key: value})
      made.append((key, value, reason))
  return config, made


def typical(
  config: ml_collections.ConfigDict,
) -> ml_collections.ConfigDict:
  """Returns a config as it would be for some videos, to check it early."""
  return choose(config, Facts(**_devices(config)))[0]


def keep(
  config: ml_collections.ConfigDict, saved: ml_collections.ConfigDict | None
) -> ml_collections.ConfigDict:
  """Returns a config whose open keys have the values of a checkpoint's."""
  config = config.copy_and_resolve_references()
  for key in open_keys(config) if saved else ():
    with config.ignore_type():
      config.update_from_flattened_dict({key: value_of(saved, key)})
  return config


def settle(
  config: ml_collections.ConfigDict,
  open_videos: Callable[[ml_collections.ConfigDict], dict[str, Videos]],
) -> tuple[ml_collections.ConfigDict, dict[str, Videos]]:
  """Chooses every open value by the videos; logs each with its reason.

  Args:
    config: complete, with open keys.
    open_videos: opens the splits of a config.

  Returns:
    The config, and the splits that it describes.
  """
  opened = config.copy_and_resolve_references()
  shares = [config.data.val_holdout]
  if shares[0] is None:
    shares = [VAL_SHARE, 0.0]
  for share in shares:
    with opened.ignore_type():
      opened.data.val_holdout = share
    splits = open_videos(opened)
    if 'val' not in splits or len(splits['val']) >= LEAST_VAL:
      break
  facts = facts_of(opened, splits)
  config, made = choose(config, facts)
  _log(made, facts)
  if text := short_clips(facts.lengths, config):
    log.info('%s', text)
  return config, splits


def facts_of(config: ml_collections.ConfigDict, splits: Splits) -> Facts:
  """Returns the facts about the videos and this machine."""
  train = splits['train']
  labels = collections.Counter(record.label for record in train.records)
  sizes = [labels[number] for number in range(train.num_classes)]
  present = [size for size in sizes if size] or [0]
  # Processes of several hosts must choose the same.
  lengths = (
    []
    if jax.process_count() > 1
    else video_lengths.of_some(train, config.data, LOOKED_AT)
  )
  return Facts(
    train=len(train),
    val=len(splits.get('val', ())),
    val_holdout=config.data.val_holdout,
    smallest=min(present),
    largest=max(present),
    lengths=tuple(sorted(lengths)),
    **_devices(config),
  )


def _devices(config: ml_collections.ConfigDict) -> dict[str, Any]:
  devices, _ = sharding.mesh_shape(config, jax.device_count())
  return {'device': jax.default_backend(), 'devices': devices}


def _log(made: list[Choice], facts: Facts) -> None:
  """Logs the choices as flags, aligned, each with its reason."""
  flags = [f'--config.{key}={_word(value)}' for key, value, _ in made]
  rows = [
    (flag, reason)
    for flag, (*_, reason) in zip(flags, made, strict=True)
    if reason
  ]
  width = max((len(flag) for flag, _ in rows), default=0)
  lines = [f'  {flag:<{width}}  {reason}' for flag, reason in rows]
  log.info(
    'Chosen for %d training videos on a %s; a flag with another value changes '
    'it:\n%s',
    *(facts.train, facts.device.upper(), '\n'.join(lines)),
  )


def _word(value: Any) -> str:
  """Returns a value as it is written in a command."""
  if isinstance(value, tuple):
    return f'"{value}"'
  return f'{value:g}' if isinstance(value, float) else str(value)


def short_clips(
  lengths: tuple[int, ...], config: ml_collections.ConfigDict
) -> str:
  """Returns a sentence about videos shorter than a clip; '' if none is.

  Args:
    lengths: numbers of frames of some training videos.
    config: with the frames of a clip.
  """
  frames = config.data.num_frames
  short = [length for length in lengths if length < frames]
  if not short:
    return ''
  text = (
    f'{len(short)} of {len(lengths)} training videos that were looked at have '
    f'fewer frames than the {frames} of a clip ({min(short)} to {max(short)}): '
    'theirs are repeated evenly, in order'
  )
  fitting = [n for n in (9, 4) if n < frames]
  lower = next(
    (n for n in fitting if np.mean(np.array(lengths) >= n) >= 0.9), 0
  )
  if lower:
    text += f'; --config.data.num_frames={lower} fits nine of ten without'
  return text
