# SPDX-License-Identifier: Apache-2.0
"""Refuses clips and test views that do not fit the model or the layout."""

from collections.abc import Callable
import itertools
import logging

import jax
import ml_collections

from flatten_jax import flattening, models
from flatten_jax.inputs import views
from flatten_jax.inputs.augment import transforms
from flatten_jax.inputs.flow import fields
from flatten_jax.inputs.sampling import rules
from flatten_jax.runtime import model_factory, preprocess
from flatten_jax.runtime.configuration import default_config

log = logging.getLogger('flatten_jax')

LAYOUT_KEYS = 'flatten', 'grid', 'mix_stage'  # Of flattened clips.


def check(
  config: ml_collections.ConfigDict,
  trusted: ml_collections.ConfigDict | None = None,
) -> None:
  """Refuses clips that do not fit the model, the layout or the test views.

  Args:
    config: complete and filled; every value is one that its key can take.
    trusted: config of a checkpoint, whose keys without effect are not named.

  Raises:
    ValueError: two keys contradict each other; the message names what fits.
  """
  data = config.data
  if data.weighted and data.balanced:
    raise ValueError(
      'config.data.weighted draws videos by their weights, data.balanced '
      'classes equally often: set one of them.'
    )
  _check_neighbors(config)
  if preprocess.is_video_model(config):
    _check_layout(config, trusted or default_config.base())
  if not preprocess.takes_clips(config):
    grid = tuple(config.grid) or None
    flattening.frame_order(
      config.flatten, data.num_frames, grid=grid, rng=jax.random.key(0)
    )
    if data.test_frames not in (0, data.num_frames):
      raise ValueError(
        f'config.data.test_frames must be 0 or data.num_frames='
        f'{data.num_frames} for images of whole clips, as {config.model.name} '
        f'takes them; got {data.test_frames}.'
      )
  _check_crop(config, 'crop')
  if data.test_crop:
    _check_crop(config, 'test_crop')
  if transforms.test_short_side(data) < transforms.test_crop(data):
    key = 'test_crop' if data.test_crop else 'crop'
    raise ValueError(
      f'config.data.test_short_side must be 0 or at least data.{key}='
      f'{data[key]}; got {data.test_short_side}.'
    )
  if data.images and not preprocess.takes_clips(config):
    _check_image_crop(config)
  _check_flow(config)
  views.of_config(data)
  views.of_validation(data)
  transforms.train_transforms(data)  # Parses `randaugment`.


# Augmentation of colors, which flow has not, and of clips made for RGB: the
# vectors of flow would have to turn with its frames.
_OF_COLORS = (
  'rotation',
  'color_jitter',
  'grayscale_share',
  'random_erasing',
  'randaugment',
)


def _check_flow(config: ml_collections.ConfigDict) -> None:
  """Refuses keys that contradict `data.input` or `channels`."""
  data, channels = config.data, fields.num_channels(config.data)
  if config.model.get('in_channels', channels) != channels:
    raise ValueError(
      f'config.model.in_channels must be {channels}, by data.input='
      f'{data.input!r}; got {config.model.in_channels}. Leave it out.'
    )
  if config.channel_dropout and config.channels != 'motion':
    raise ValueError(
      "config.channel_dropout is for config.channels='motion'; got "
      f'{config.channel_dropout} with {config.channels!r}. Write '
      '--config.channel_dropout=0.'
    )
  if 'flow' not in data.input:
    return
  if config.channels == 'motion':
    raise ValueError(
      "config.channels='motion' is made of RGB; got data.input="
      f'{data.input!r}. Write --config.channels=rgb.'
    )
  if found := [key for key in _OF_COLORS if data[key]]:
    flags = (
      f'--config.data.{key}={"" if key == "randaugment" else 0}'
      for key in found
    )
    raise ValueError(
      f'config.data.{found[0]} is for RGB alone; got {data[found[0]]!r} with '
      f'data.input={data.input!r}. Write {" ".join(flags)}'
    )
  if data.images:
    raise ValueError(
      'config.data.images are still, and have no optical flow: train on them '
      f"with data.input='rgb', not {data.input!r}."
    )


def _check_neighbors(config: ml_collections.ConfigDict) -> None:
  """Refuses a sampling rule without the neighboring frames of the model."""
  name, found = config.model.name, config.data.sampling
  wanted = models.input_spec(name).sampling
  run = rules.RULES[wanted].run if wanted in rules.RULES else 1
  if rules.RULES[found].run < run:
    raise ValueError(
      f'config.data.sampling must be {wanted!r} for {name}, which compares '
      f'{run} neighboring frames; got {found!r}. Write --config.data.sampling='
      f'{wanted} --config.data.num_frames={8 * run}, or another multiple of '
      f'{run}.'
    )


def _check_layout(
  config: ml_collections.ConfigDict, before: ml_collections.ConfigDict
) -> None:
  """Refuses `clip_model` for a video model, and warns of keys of layouts."""
  name = config.model.name
  if config.clip_model != 'flatten':
    raise ValueError(
      f"config.clip_model must be 'flatten', its default, for {name}, which "
      f'takes clips as they are; got {config.clip_model!r}. The others are for '
      'image models.'
    )
  for key in LAYOUT_KEYS:
    if config[key] not in (default_config.base()[key], 'none', before[key]):
      text = 'config.%s=%r has no effect: %s takes clips as they are'
      log.warning(text, key, config[key], name)


def _check_crop(config: ml_collections.ConfigDict, key: str) -> None:
  """Refuses frames whose image the model does not take; suggests others."""
  crop = config.data[key]
  fitting = fitting_sides(config, crop)
  if fitting == [crop]:
    return
  height, width = model_factory.image_shape(config, crop)
  raise ValueError(
    f'config.data.{key} must be a size that {config.model.name} takes, such as '
    f'{" or ".join(map(str, fitting))}; got {crop}, which makes images of '
    f'{height} x {width} px.'
  )


def _check_image_crop(config: ml_collections.ConfigDict) -> None:
  """Refuses still images of a size that the model does not take.

  A grid of frames may fit where one of them does not.
  """
  side = config.data.image_crop or config.data.crop
  fitting = _nearest(
    lambda side: models.takes_size(config.model, side, side), side
  )
  if fitting != [side]:
    found = config.data.image_crop or f'0, which is data.crop={side}'
    raise ValueError(
      f'config.data.image_crop must be a size that {config.model.name} takes, '
      f'such as {" or ".join(map(str, fitting))}; got {found}.'
    )


def fitting_sides(config: ml_collections.ConfigDict, side: int) -> list[int]:
  """Returns a side in pixels if the model takes frames of it, or the nearest.

  Args:
    config: with the model, the frames of a clip, and the layout.
    side: of a frame.

  Returns:
    One or two sides, ascending; none if the model takes no size near.
  """

  def fits(side: int) -> bool:
    height, width = model_factory.image_shape(config, side)
    return models.takes_size(config.model, height, width)

  return _nearest(fits, side)


def _nearest(fits: Callable[[int], bool], side: int) -> list[int]:
  """Returns a side if it fits, or the next ones below and above."""
  if fits(side):
    return [side]
  below = filter(fits, range(side - 1, 0, -1))
  above = filter(fits, range(side + 1, 4 * side + 1025))
  return [*itertools.islice(below, 1), *itertools.islice(above, 1)]
