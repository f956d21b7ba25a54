# SPDX-License-Identifier: Apache-2.0
"""Matches the tensors of a file with those of a model, with allowances."""

from collections.abc import Collection, Mapping
import dataclasses
import math
import re

from flax import nnx
import jax
import numpy as np

from flatten_jax.models import swin_v2, timesformer, video_swin
from flatten_jax.models.layers import positions
from flatten_jax.models.weights import (
  image_vit,
  key_names,
  resampling,
  state_dicts,
)

# Differences of a file that a caller may allow.
ALLOWANCES = {
  'new_head': 'leave a head for other classes at its initial values',
  'light': 'take the published light UniFormer-XXS, all but its stem and token',
  'window': 'compute the tables of SwinV2 for another window than the file has',
  'positions': 'interpolate position tables for clips of another size',
  'inflate': "start as an image model, by the video model's official rules",
}


@dataclasses.dataclass
class Match:
  """The tensors of a model and of a file, in our names and axes.

  Allowances move names to `resized`, `left` and `dropped`.
  """

  model: nnx.Module
  paths: dict[str, tuple]  # Our name -> path in the model.
  shapes: dict[str, tuple[int, ...]]  # Ours.
  official: dict[str, str]  # Our name -> the file's.
  theirs: dict[str, np.ndarray]
  extra: set[str]  # In the file only, under its own names.
  windows: set[int]  # That the file's tables were computed for; SwinV2's only.
  image: bool  # The file's names are those of an image model.
  resized: set[str] = dataclasses.field(default_factory=set)
  left: set[str] = dataclasses.field(default_factory=set)
  dropped: set[str] = dataclasses.field(default_factory=set)
  advice: list[str] = dataclasses.field(default_factory=list)

  def check(self) -> None:
    """Raises unless all tensors match; the error has the first of each side."""
    problems = []
    if only := sorted(self.shapes.keys() - self.theirs.keys() - self.left):
      names = [f'{self.official[name]} (our {name})' for name in only]
      problems.append(f'Only in the model: {state_dicts.few(names)}.')
    if only := sorted(self.extra - self.dropped):
      problems.append(f'Only in the file: {state_dicts.few(only)}.')
    different = [
      f'{self.official[name]}: {self.theirs[name].shape} in the file, '
      f'{self.shapes[name]} here (axes in our order)'
      for name in sorted(self.theirs)
      if self.theirs[name].shape != self.shapes[name]
    ]
    if different:
      problems.append(f'{state_dicts.few(different)}.')
    if any(self.theirs[name].size == 0 for name in self.theirs):
      problems.append(
        'Empty tensors are parts of a model over several files: convert them '
        "with DeepSpeed's zero_to_fp32.py or the like."
      )
    if problems or self.advice:
      raise ValueError(
        f'These weights do not fit this model, of whose {len(self.shapes)} '
        f'tensors they have {len(self.theirs)}. '
        + ' '.join(problems + self.advice)
      )


def match(
  model: nnx.Module,
  tensors: dict[tuple, jax.Array],
  source: Mapping[str, np.ndarray],
  naming: key_names.Naming,
  allow: Collection[str],
) -> Match:
  """Finds our tensors in a file, and accepts differences that are allowed.

  Raises:
    ValueError: a tensor of either side does not match.
  """
  paths = {'.'.join(map(str, path)): path for path in tensors}
  shapes = {name: tensors[path].shape for name, path in paths.items()}
  official = {name: naming.official(name) for name in shapes}
  parts = {name: naming.parts(name) for name in shapes}
  theirs = {
    name: naming.to_ours(
      name, [np.asarray(source[k]) for k in keys], len(shape)
    )
    for (name, shape), keys in zip(shapes.items(), parts.values(), strict=True)
    if source.keys() >= set(keys)
  }
  theirs |= {
    name: np.ones(shape, np.float32)
    for name, shape in shapes.items()
    if name not in theirs and re.search(naming.ones, official[name])
  }
  learned = {k for k in source if not key_names.is_computed(k)}
  # A tensor of which a part is missing is extra.
  extra = learned.difference(*(parts[name] for name in theirs))
  windows = {
    (x.shape[1] + 1) // 2
    for k, x in source.items()
    if k.endswith('_coords_table') and hasattr(x, 'shape')
  }
  found = Match(
    model, paths, shapes, official, theirs, extra, windows, naming.image
  )
  for accept in (
    _light_stem,
    _other_window,
    _any_table,
    _from_image,
    _other_clips,
    _inflated,
    _tiled_tables,
    _image_blocks,
    _new_head,
  ):
    accept(found, allow)
  found.check()
  return found


def _allowed(match: Match, allow: Collection[str], name: str) -> bool:
  """Returns whether a difference is allowed; if not, adds advice."""
  if name not in allow:
    match.advice.append(f'(allow={{{name!r}}} would {ALLOWANCES[name]}.)')
  return name in allow


# Only in the published light UniFormer: a stem of convolutions, and the class
# token of its token pruning.
_LIGHT_ONLY = (
  r'^(patch_embed1\.proj\.\d|cls_token|cls_upsample|norm_cls|head_cls)'
)


def _light_stem(match: Match, allow: Collection[str]) -> None:
  """Fits the light UniFormer-XXS into the plain one."""
  if 'cls_token' in match.extra and _allowed(match, allow, 'light'):
    match.dropped |= {k for k in match.extra if re.search(_LIGHT_ONLY, k)}
    match.left |= {
      name
      for name in match.shapes
      if name.startswith('embeds.0.') and name not in match.theirs
    }


def _other_window(match: Match, allow: Collection[str]) -> None:
  """Accepts SwinV2 with other windows than in training."""
  if not isinstance(match.model, swin_v2.SwinV2) or not match.windows:
    return
  theirs, ours = max(match.windows), match.model.window
  if theirs != ours and _allowed(match, allow, 'window'):
    match.resized.add(f'position tables (window {theirs} there, {ours} here)')


def _any_table(match: Match, allow: Collection[str]) -> None:
  """Takes a table of positions as it is: VTN's has the size of its frames."""
  del allow
  name = 'pos_embeds.0'
  if getattr(match.model, 'any_table', False) and name in match.theirs:
    ours, theirs = match.shapes[name], match.theirs[name].shape
    if len(theirs) == 3 and ours[::2] == theirs[::2]:
      match.shapes[name] = theirs


def _from_image(match: Match, allow: Collection[str]) -> None:
  """Takes the tensors of an image ViT; what it lacks stays, and the head."""
  kernel = match.theirs.get('embeds.0.kernel')
  is_vit = hasattr(match.model, 'pos_embeds') and kernel is not None
  if not is_vit or not (
    match.image or kernel.ndim < len(match.shapes['embeds.0.kernel'])
  ):
    return
  if not _allowed(match, allow, 'inflate'):
    return
  match.theirs = {
    name: value
    for name, value in match.theirs.items()
    if not name.startswith('head')
  }
  for name, value in match.theirs.items():
    ours = match.shapes[name]
    if len(ours) > value.ndim:  # A kernel of one frame.
      match.theirs[name] = image_vit.central_frame(value, ours[0])
      match.resized.add(name)
    elif name.startswith('cls_') and value.shape != ours:
      match.theirs[name] = np.broadcast_to(value, ours)  # To all its places.
      match.resized.add(name)
  grid = match.model.grid
  for name, value in image_vit.tables(match.theirs, match.shapes, grid).items():
    match.theirs[name] = value
    match.resized.add(name)
  match.left |= match.shapes.keys() - match.theirs.keys()
  match.dropped |= {k for k in match.extra if image_vit.is_head(k)}


def _other_clips(match: Match, allow: Collection[str]) -> None:
  """Interpolates the position tables of a ViViT for clips of another size."""
  if not hasattr(match.model, 'pos_embeds') or match.image:
    return
  tables = image_vit.resized(match.theirs, match.shapes, match.model.grid)
  if tables and _allowed(match, allow, 'positions'):
    match.theirs |= tables
    match.resized |= tables.keys()


def _inflated(match: Match, allow: Collection[str]) -> None:
  """Inflates filters of an image model for a video model."""
  flat = {
    name: value
    for name, value in match.theirs.items()
    if value.ndim == 4 and match.shapes[name][1:] == value.shape
  }
  if flat and _allowed(match, allow, 'inflate'):
    for name, value in flat.items():
      times = match.shapes[name][0]
      match.theirs[name] = np.stack([value / times] * times)
    match.resized |= flat.keys()


def _tiled_tables(match: Match, allow: Collection[str]) -> None:
  """Repeats the position biases of an image Swin over the offsets in time.

  A table for windows of another side is interpolated before.
  """
  if not isinstance(match.model, video_swin.VideoSwin):
    return
  window = match.model.stages[0][0].attn.window
  frames, *sides = (2 * side - 1 for side in window)
  flat = {}
  for name, value in match.theirs.items():
    if name.endswith('bias_table') and value.shape != match.shapes[name]:
      side = math.isqrt(value.shape[-1])
      if side**2 == value.shape[-1]:  # Of an image.
        flat[name] = value.reshape(-1, side, side)
  if flat and _allowed(match, allow, 'inflate'):
    for name, value in flat.items():
      if value.shape[1:] != tuple(sides):
        value = resampling.bicubic(value, tuple(sides))
      match.theirs[name] = np.tile(value.reshape(len(value), -1), frames)
    match.resized |= flat.keys()


def _image_blocks(match: Match, allow: Collection[str]) -> None:
  """Starts a TimeSformer from a ViT.

  Attention over time starts as that over space, with a last layer of zeros. A
  table of positions of another size is resampled as the model says.
  """
  model, theirs = match.model, match.theirs
  if not isinstance(model, timesformer.TimeSformer) or 'time_embed' in theirs:
    return
  if 'pos_embed' not in theirs or not _allowed(match, allow, 'inflate'):
    return
  for name in match.shapes.keys() - theirs.keys():
    source = re.sub(r'temporal_(attn\.)?', '', name)
    if name == 'time_embed' or '.temporal_fc.' in name:
      match.left.add(name)
    elif source in theirs:
      theirs[name] = theirs[source]
      match.resized.add(name)
  table, size = theirs['pos_embed'], match.shapes['pos_embed'][1]
  if table.shape[1] != size:
    first, places = table[:, :1], table[:, 1:]
    if model.import_positions == 'flat':
      places = places[:, positions.nearest(places.shape[1], size - 1)]
    else:
      side = math.isqrt(size - 1)
      places = positions.nearest_on_grid(places, side, side)
    theirs['pos_embed'] = np.concatenate([first, places], axis=1)
    match.resized.add('pos_embed')


def _new_head(match: Match, allow: Collection[str]) -> None:
  """Leaves heads for another number of classes at their values."""
  heads = {
    name.rpartition('.')[0]
    for name, value in match.theirs.items()
    if name.startswith('head') and value.shape != match.shapes[name]
  }
  if heads and _allowed(match, allow, 'new_head'):
    match.left |= {n for n in match.shapes if n.rpartition('.')[0] in heads}
    match.theirs = {
      k: v for k, v in match.theirs.items() if k not in match.left
    }
