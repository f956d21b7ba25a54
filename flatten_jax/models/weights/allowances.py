# SPDX-License-Identifier: Apache-2.0
"""Accepts differences between a file and a model, if the caller allows them."""

import re

from flatten_jax.models import swin_v2, vit, vivit
from flatten_jax.models.weights import inflation, resampling, state_dicts
from flatten_jax.models.weights.matching import Match


def accept(match: Match) -> None:
  """Accepts the differences that are allowed; for others, adds advice."""
  for one in (
    _light_stem,
    _other_channels,
    _other_window,
    _any_table,
    inflation.start_as_image,
    _other_clips,
    _other_images,
    _new_head,
    _other_depth,
  ):
    one(match)


# Only in the published light UniFormer: a stem of convolutions, and the class
# token of its token pruning.
_LIGHT_ONLY = (
  r'^(patch_embed1\.proj\.\d|cls_token|cls_upsample|norm_cls|head_cls)'
)


def _light_stem(match: Match) -> None:
  """Fits the light UniFormer-XXS into the plain one."""
  if 'cls_token' in match.extra and match.allows('light'):
    match.dropped |= {k for k in match.extra if re.search(_LIGHT_ONLY, k)}
    stem = {name for name in match.shapes if name.startswith('embeds.0.')}
    match.leave(stem - match.theirs.keys())


def _other_channels(match: Match) -> None:
  """Takes the first kernels of a model of RGB for channels of flow."""
  channels = match.model.in_channels
  adapted = resampling.for_channels(match.theirs, match.shapes, channels)
  if adapted and match.allows('channels'):
    match.theirs |= adapted
    how = f'mean over RGB, for {channels} channels'
    match.resized |= {f'{name} ({how})' for name in adapted}


def _other_window(match: Match) -> None:
  """Accepts SwinV2 with other windows than in training."""
  if not isinstance(match.model, swin_v2.SwinV2) or not match.windows:
    return
  theirs, ours = max(match.windows), match.model.window
  if theirs != ours and match.allows('window'):
    match.resized.add(f'position tables (window {theirs} there, {ours} here)')


def _any_table(match: Match) -> None:
  """Takes a table of positions as it is: VTN's has the size of its frames."""
  name = 'pos_embeds.0'
  if getattr(match.model, 'any_table', False) and name in match.theirs:
    ours, theirs = match.shapes[name], match.theirs[name].shape
    if len(theirs) == 3 and ours[::2] == theirs[::2]:
      match.shapes[name] = theirs


def _other_clips(match: Match) -> None:
  """Interpolates the position tables of a ViViT for clips of another size."""
  if not isinstance(match.model, vivit.ViViT):
    return
  tables = resampling.for_clips(match.theirs, match.shapes, match.model.grid)
  if tables and match.allows('positions'):
    match.resize(tables)


def _other_images(match: Match) -> None:
  """Resamples the position table of a ViT for images of another size."""
  if not isinstance(match.model, vit.ViT):
    return
  tables = resampling.for_images(match.theirs, match.shapes)
  if tables and match.allows('positions'):
    match.resize(tables)


def _new_head(match: Match) -> None:
  """Leaves heads for other classes; of a ViT, also one that a file lacks.

  ViTs are published without heads, trained without labels.
  """
  heads = {
    name.rpartition('.')[0]
    for name, value in match.theirs.items()
    if name.startswith('head') and value.shape != match.shapes[name]
  }
  missing = match.shapes.keys() - match.theirs.keys() - match.left
  head = {name for name in match.shapes if name.startswith('head.')}
  if isinstance(match.model, vit.ViT) and missing == head:
    heads.add('head')
  if heads and match.allows('new_head'):
    match.leave([n for n in match.shapes if n.rpartition('.')[0] in heads])
    # A layer between features and head, of ViTs of ImageNet-21k.
    match.dropped |= {k for k in match.extra if k.startswith('pre_logits.')}


def _other_depth(match: Match) -> None:
  """Tells the depth of a file whose encoder of time has other blocks."""
  ours = state_dicts.temporal_depth(match.official.values())
  found = [match.official[name] for name in match.theirs]
  theirs = state_dicts.temporal_depth([*found, *match.extra])
  if ours and theirs and theirs != ours:
    match.advice.append(
      f'The file has {theirs} blocks in time, the model {ours}: build it with '
      f'temporal_depth={theirs}.'
    )
