# SPDX-License-Identifier: Apache-2.0
"""Which tensor of a file is which of a model's, and what may differ."""

from collections.abc import Collection, Mapping
import dataclasses
import re

from flax import nnx
import jax
import numpy as np

from flatten_jax.models import swin_v2
from flatten_jax.models.weights import key_names

# What a caller may allow a file to differ in.
ALLOWANCES = {
  'new_head': 'leave a head for other classes at its initial values',
  'light': 'take the published light UniFormer-XXS, all but its stem and token',
  'window': 'compute the tables of SwinV2 for another window than the file has',
  'inflate': "spread an image model's filters over time: repeated and divided",
}


@dataclasses.dataclass
class Match:
  """A model's tensors beside a file's, in our names and axes.

  `excuses` move names from what does not fit to what is put up with.
  """

  model: nnx.Module
  paths: dict[str, tuple]  # Our name -> where it is in the model.
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
    """Raises unless every tensor has its place; lists both sides."""
    problems = []
    if only := sorted(self.shapes.keys() - self.theirs.keys() - self.left):
      names = (f'{self.official[name]} (our {name})' for name in only)
      problems.append(f'Only in the model: {", ".join(names)}.')
    if only := sorted(self.extra - self.dropped):
      problems.append(f'Only in the file: {", ".join(only)}.')
    for name in sorted(self.theirs):
      if self.theirs[name].shape != self.shapes[name]:
        problems.append(
          f'{self.official[name]}: {self.theirs[name].shape} in the file, '
          f'{self.shapes[name]} here (axes in our order).'
        )
    if problems or self.advice:
      raise ValueError(
        'These weights do not fit this model. '
        + ' '.join(problems + self.advice)
      )


def match(
  model: nnx.Module,
  tensors: dict[tuple, jax.Array],
  source: Mapping[str, np.ndarray],
  allow: Collection[str],
) -> Match:
  """Finds our tensors in a file, and puts up with what the caller allows.

  Raises:
    ValueError: where any tensor of either side has no place.
  """
  found = _find(model, tensors, source)
  for excuse in (_light_stem, _other_window, _inflated, _new_head):
    excuse(found, allow)
  found.check()
  return found


def _find(
  model: nnx.Module,
  tensors: dict[tuple, jax.Array],
  source: Mapping[str, np.ndarray],
) -> Match:
  """A model's tensors, by the names of the publisher that the file is of."""
  paths = {'.'.join(map(str, path)): path for path in tensors}
  shapes = {name: tensors[path].shape for name, path in paths.items()}
  naming = key_names.naming_in(model, shapes, source)
  official = {name: naming.official(name) for name in shapes}
  theirs = {
    name: key_names.to_ours(np.asarray(source[key]), len(shapes[name]))
    for name, key in official.items()
    if key in source
  }
  extra = {k for k in source if not key_names.is_computed(k)}
  tables = [
    np.shape(x) for k, x in source.items() if k.endswith('_coords_table')
  ]
  return Match(
    model=model,
    paths=paths,
    shapes=shapes,
    official=official,
    theirs=theirs,
    extra=extra - set(official.values()),
    windows={(shape[1] + 1) // 2 for shape in tables},
  )


def _excused(match: Match, allow: Collection[str], name: str) -> bool:
  """Whether the caller allows it; where not, the error will tell how to."""
  if name not in allow:
    match.advice.append(f'(allow={{{name!r}}} would {ALLOWANCES[name]}.)')
  return name in allow


# What the published light UniFormer has and the plain one has not: a stem of
# convolutions, and the class token of its token pruning.
_LIGHT_ONLY = (
  r'^(patch_embed1\.proj\.\d|cls_token|cls_upsample|norm_cls|head_cls)'
)


def _light_stem(match: Match, allow: Collection[str]) -> None:
  """The light UniFormer-XXS into the plain one."""
  if 'cls_token' in match.extra and _excused(match, allow, 'light'):
    match.dropped |= {k for k in match.extra if re.search(_LIGHT_ONLY, k)}
    match.left |= {
      name
      for name in match.shapes
      if name.startswith('embeds.0.') and name not in match.theirs
    }


def _other_window(match: Match, allow: Collection[str]) -> None:
  """SwinV2 with windows it was not trained with."""
  if not isinstance(match.model, swin_v2.SwinV2) or not match.windows:
    return
  theirs, ours = max(match.windows), match.model.window
  if theirs != ours and _excused(match, allow, 'window'):
    match.resized.add(f'position tables (window {theirs} there, {ours} here)')


def _inflated(match: Match, allow: Collection[str]) -> None:
  """Filters of an image model in a video model."""
  flat = {
    name: value
    for name, value in match.theirs.items()
    if value.ndim == 4 and match.shapes[name][1:] == value.shape
  }
  if flat and _excused(match, allow, 'inflate'):
    for name, value in flat.items():
      times = match.shapes[name][0]
      match.theirs[name] = np.stack([value / times] * times)
    match.resized |= flat.keys()


def _new_head(match: Match, allow: Collection[str]) -> None:
  """Heads for another number of classes."""
  heads = {
    name.rpartition('.')[0]
    for name, value in match.theirs.items()
    if name.startswith('head') and value.shape != match.shapes[name]
  }
  if heads and _excused(match, allow, 'new_head'):
    match.left |= {n for n in match.shapes if n.rpartition('.')[0] in heads}
    match.theirs = {
      k: v for k, v in match.theirs.items() if k not in match.left
    }
