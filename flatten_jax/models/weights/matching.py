# SPDX-License-Identifier: Apache-2.0
"""Matches the tensors of a file with those of a model, with allowances."""

from collections.abc import Collection, Mapping
import dataclasses
import re

from flax import nnx
import jax
import numpy as np

from flatten_jax.models import swin_v2
from flatten_jax.models.weights import key_names, state_dicts

# Differences of a file that a caller may allow.
ALLOWANCES = {
  'new_head': 'leave a head for other classes at its initial values',
  'light': 'take the published light UniFormer-XXS, all but its stem and token',
  'window': 'compute the tables of SwinV2 for another window than the file has',
  'inflate': "spread an image model's filters over time: repeated and divided",
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
  theirs = {
    name: key_names.to_ours(np.asarray(source[key]), len(shapes[name]))
    for name, key in official.items()
    if key in source
  }
  learned = {k for k in source if not key_names.is_computed(k)}
  extra = learned - set(official.values())
  windows = {
    (x.shape[1] + 1) // 2
    for k, x in source.items()
    if k.endswith('_coords_table') and hasattr(x, 'shape')
  }
  found = Match(model, paths, shapes, official, theirs, extra, windows)
  for accept in (_light_stem, _other_window, _inflated, _new_head):
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
