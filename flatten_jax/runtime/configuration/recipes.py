# SPDX-License-Identifier: Apache-2.0
"""Fills in what a config leaves open (None) by its recipe; logs each choice."""

import collections
from collections.abc import Callable, Mapping
import functools
import logging
import re
from typing import Any

import jax
import ml_collections

from flatten_jax.inputs import video_lengths
from flatten_jax.inputs.sources.videos import Videos, training_videos
from flatten_jax.models.layers import devices
from flatten_jax.runtime.configuration import default_config, few_videos
from flatten_jax.runtime.configuration.config_keys import known_keys, value_of
from flatten_jax.runtime.configuration.few_videos import Choice, Facts
from flatten_jax.runtime.devices import sharding

log = logging.getLogger('flatten_jax')

# Words of class names.
SIDES = re.compile(
  '(left|right)(wards?|hand)?|(counter|anti)?clockwise|cw|a?ccw', re.IGNORECASE
)
LOOKED_AT = 200  # Training videos whose frames are counted.


def open_keys(config: ml_collections.ConfigDict) -> list[str]:
  """Returns the keys that a config leaves open for its recipe."""
  if not config.recipe:
    return []
  chosen = recipe_keys()
  return [
    key
    for key in known_keys()
    if key in chosen and value_of(config, key) is None
  ]


@functools.cache
def recipe_keys() -> frozenset[str]:
  """Returns every key of `few_videos.table`; no other can be left open."""
  trial = default_config.base()
  trial.data.num_frames = 1  # Of an image of any layout.
  return frozenset(key for key, *_ in few_videos.table(trial, Facts()))


def leave_open(config: ml_collections.ConfigDict) -> None:
  """Leaves every key of the recipe open, in place; sets the recipe."""
  config.recipe = 'few_videos'
  default_config.leave_open(config, *recipe_keys())


def choose(
  config: ml_collections.ConfigDict, facts: Facts
) -> tuple[ml_collections.ConfigDict, list[Choice]]:
  """Returns a config with a value for every open key, and the choices."""
  open_ones, made = set(open_keys(config)), []
  config = config.copy_and_resolve_references()
  with config.ignore_type():
    for key, value, reason in few_videos.table(config, facts):
      if key in open_ones:
        config.update_from_flattened_dict({key: value})
        made.append((key, value, reason))
  return config, made


def typical(
  config: ml_collections.ConfigDict, facts: Facts | None = None
) -> ml_collections.ConfigDict:
  """Returns a config as it would be for some videos, to check it early.

  Args:
    config: perhaps with open keys.
    facts: by default those of the devices here, with usual numbers of videos.
  """
  if not open_keys(config):
    return config
  return choose(config, facts or Facts(**_devices(config)))[0]


def keep(
  config: ml_collections.ConfigDict, saved: ml_collections.ConfigDict | None
) -> ml_collections.ConfigDict:
  """Returns a config whose open keys have the values of a checkpoint's."""
  config = config.copy_and_resolve_references()
  with config.ignore_type():
    for key in open_keys(config) if saved else ():
      config.update_from_flattened_dict({key: value_of(saved, key)})
  return config


def settle(
  config: ml_collections.ConfigDict,
  early: ml_collections.ConfigDict,
  open_videos: Callable[[ml_collections.ConfigDict], dict[str, Videos]],
) -> tuple[ml_collections.ConfigDict, dict[str, Videos]]:
  """Chooses every open value by the videos; logs each with its reason.

  Args:
    config: complete, with open keys.
    early: the same, `typical`, and with the model's input.
    open_videos: opens the splits of a config.

  Returns:
    The config, and the splits that it describes.
  """
  splits = open_videos(early)
  facts = facts_of(early, splits)
  config, made = choose(config, facts)
  _log(made, facts)
  if text := short_clips(facts.lengths, config):
    log.info('%s', text)
  return config, splits


def facts_of(
  config: ml_collections.ConfigDict, splits: Mapping[str, Videos]
) -> Facts:
  """Returns the facts about the videos and this machine."""
  train = training_videos(splits)
  labels = collections.Counter(c for r in train.records for c in r.classes)
  sizes = [labels[number] for number in range(train.num_classes)]
  present = [size for size in sizes if size] or [0]
  lengths = []
  if jax.process_count() == 1:  # Several hosts must choose the same.
    lengths = video_lengths.of_some(train, config.data, LOOKED_AT)
  return Facts(
    train=len(train),
    val=len(splits['val'].usable()) if 'val' in splits else 0,
    test=len(splits['test'].usable()) if 'test' in splits else 0,
    smallest=min(present),
    largest=max(present),
    lengths=tuple(sorted(lengths)),
    side=next(filter(names_side, train.class_names), ''),
    **_devices(config),
  )


def names_side(name: str) -> bool:
  """Returns whether a class may be the mirror image of another, by its name.

  Names without a word do not tell: numbers, and letters such as b and d.
  """
  words = re.findall('[A-Z]?[a-z]+|[A-Z]+', name)
  has_word = any(len(word) > 1 for word in words)
  return not has_word or any(map(SIDES.fullmatch, words))


def _devices(config: ml_collections.ConfigDict) -> dict[str, Any]:
  platform = devices.target().platform
  return {'device': platform, 'devices': sharding.batch_parts(config)}


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
  evenly = ' evenly, in order' * (config.data.sampling == 'even')
  text = (
    f'{len(short)} of {len(lengths)} training videos that were looked at have '
    f'fewer frames than the {frames} of a clip ({min(short)} to {max(short)}), '
    f'so theirs are repeated{evenly}'
  )
  fitting = (16,) if config.flatten == 'nested' else (9, 4)
  for fewer in () if config.grid else fitting:
    rest = sum(length < fewer for length in lengths)
    if fewer < frames and rest <= len(short) / 2:
      return (
        f'{text}; with --config.data.num_frames={fewer} only {rest} have fewer'
      )
  return text
