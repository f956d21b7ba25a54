# SPDX-License-Identifier: Apache-2.0
"""Starts video models as image models, by the rules of their authors.

Their heads are always new. Tables of ViTs are [1 1+N C], the class token first.
"""

import math
import re

import numpy as np

from flatten_jax.models import timesformer, video_swin
from flatten_jax.models.layers import positions
from flatten_jax.models.weights import convnet_inflation, resampling
from flatten_jax.models.weights.matching import Match


def start_as_image(match: Match) -> None:
  """Completes the tensors of an image model to those of the video model."""
  model = match.model
  if isinstance(model, timesformer.TimeSformer):
    rule = _timesformer
  elif isinstance(model, video_swin.VideoSwin):
    rule = _video_swin
  elif hasattr(model, 'pos_embeds'):
    rule = _vit
  elif convnet_inflation.start_as_image(match):
    return
  else:
    _repeat_kernels(match)
    return
  if _is_of_images(match) and match.allows('inflate'):
    match.leave_head()
    rule(match)


def _is_of_images(match: Match) -> bool:
  """Returns whether a file lacks what is of time."""
  if 'cls_s' in match.shapes:  # VidTr's, whose kernel has no time.
    return match.image
  if tables := {'time_embed', 'frame_embed'} & match.shapes.keys():
    return (
      'embeds.0.kernel' in match.theirs and not tables & match.theirs.keys()
    )
  stems = {'embeds.0.kernel', 'embeds.0.proj.kernel'} & match.theirs.keys()
  return any(
    match.theirs[name].ndim < len(match.shapes[name]) for name in stems
  )


def _repeat_kernels(match: Match) -> None:
  """Repeats filters along time, divided by the number of repeats.

  (Carreira & Zisserman, 2017.)
  """
  flat = {
    name: value
    for name, value in match.theirs.items()
    if value.ndim == 4 and match.shapes[name][1:] == value.shape
  }
  if flat and match.allows('inflate'):
    times = {name: match.shapes[name][0] for name in flat}
    match.resize(
      {
        name: np.stack([x / times[name]] * times[name])
        for name, x in flat.items()
      }
    )


def _video_swin(match: Match) -> None:
  """Repeats the position biases of a Swin over the offsets in time.

  A table for windows of another side is interpolated before.
  """
  _repeat_kernels(match)
  window = match.model.stages[0][0].attn.window
  frames, *sides = (2 * side - 1 for side in window)
  for name, value in match.theirs.items():
    if not name.endswith('bias_table') or value.ndim != 2:
      continue
    side = math.isqrt(value.shape[-1])
    if side**2 == value.shape[-1]:
      table = value.reshape(-1, side, side)  # [heads H W]
      if table.shape[1:] != tuple(sides):
        table = resampling.bicubic(table, tuple(sides))
      match.resize({name: np.tile(table.reshape(len(table), -1), frames)})


def _timesformer(match: Match) -> None:
  """Starts attention over time as that over space, with a last layer of zeros.

  A table of positions of another size is resampled as the model says.
  """
  model, theirs = match.model, match.theirs
  for name in match.shapes.keys() - theirs.keys():
    source = re.sub(r'temporal_(attn\.)?', '', name)
    if name == 'time_embed' or '.temporal_fc.' in name:
      match.left.add(name)
    elif source in theirs:
      match.resize({name: theirs[source]})
  name = 'pos_embed'
  table, ours = theirs.get(name, np.empty(0)), match.shapes[name]
  size = ours[1]
  if table.shape != ours and resampling.is_of_square(table.shape, ours):
    cls, places = table[:, :1], table[:, 1:]
    if model.import_positions == 'flat':
      places = places[:, positions.nearest(places.shape[1], size - 1)]
      how = "in flat order, as officially; import_positions='grid' keeps places"
    else:
      side = math.isqrt(size - 1)
      places = positions.nearest_on_grid(places, side, side)
      how = 'on its grid'
    theirs[name] = np.concatenate([cls, places], axis=1)
    match.resized.add(f'{name} ({how})')


def _vit(match: Match) -> None:
  """Starts ViViT, VTN and VidTr as a ViT; what it lacks stays.

  Its kernel is that of the middle frame, between zeros ("central frame
  initialisation" of the ViViT paper).
  """
  for name, value in match.theirs.items():
    ours = match.shapes[name]
    if name == 'embeds.0.kernel' and ours[1:] == value.shape:
      kernel = np.zeros(ours, value.dtype)
      kernel[ours[0] // 2] = value
      match.resize({name: kernel})
    elif value.shape == ours:
      continue
    elif name.startswith('cls_') and (value.size,) == ours[-1:]:
      # To all its places.
      match.resize({name: np.broadcast_to(value.ravel(), ours)})
    elif (
      name == 'pos_embeds.0'
      and (table := _table(value, ours, match.model.grid)) is not None
    ):
      match.resize({name: table})
  match.leave(match.shapes.keys() - match.theirs.keys())


def _table(
  table: np.ndarray, ours: tuple[int, ...], grid: tuple[int, int, int]
) -> np.ndarray | None:
  """Returns an image's position table for clips: equal at all times.

  None if it is not one, with the class token's position first.

  Args:
    table: [1 1+N C], of a square image, or of the grid.
    ours: shape of the table of clips.
    grid: positions of the video model: times, rows and columns.
  """
  times, *space = grid
  of_grid = (1, 1 + math.prod(space), ours[2])
  if table.shape != of_grid and not resampling.is_of_square(table.shape, ours):
    return None
  cls, places = np.split(table, [1], axis=1)
  if table.shape != of_grid:
    side = math.isqrt(places.shape[1])
    places = positions.resize(places[0], tuple(space), (side, side))[None]
  frame = np.concatenate([cls, places], axis=1)
  length = ours[1]
  if length == (1 + times) * frame.shape[1]:  # VidTr: a row has its token.
    return np.concatenate([frame] * (1 + times), axis=1)
  times = (length - 1) // (frame.shape[1] - 1)
  return np.concatenate([cls, *[frame[:, 1:]] * times], axis=1)
