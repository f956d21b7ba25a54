# SPDX-License-Identifier: Apache-2.0
"""Matches the tensors of a file with those of a model; every tensor counts."""

from collections.abc import Collection, Mapping
import dataclasses
import re

from flax import nnx
import jax
import numpy as np

from flatten_jax.models.weights import naming, state_dicts

# Differences of a file that a caller may allow.
ALLOWANCES = {
  'new_head': 'leave a head for other classes at its initial values',
  'light': 'take the published light UniFormer-XXS, all but its stem and token',
  'window': 'compute the tables of SwinV2 for another window than the file has',
  'positions': 'interpolate position tables for images of another size',
  'channels': 'average the first kernel over RGB for channels of flow',
  'inflate': "start as an image model, by the video model's official rules",
}
# Heads of image models, in the names of all publishers, and GoogLeNet's others.
_HEAD = re.compile(r'(head|fc|pre_logits|last_linear|aux\d)\.')


@dataclasses.dataclass
class Match:
  """The tensors of a model and of a file, in our names and axes.

  Allowances move names to `resized`, `left` and `dropped`.
  """

  model: nnx.Module
  allow: Collection[str]
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

  def allows(self, name: str) -> bool:
    """Returns whether a difference is allowed; if not, adds advice."""
    if name not in self.allow:
      self.advice.append(f'(allow={{{name!r}}} would {ALLOWANCES[name]}.)')
    return name in self.allow

  def resize(self, tensors: Mapping[str, np.ndarray]) -> None:
    """Takes tensors in another shape or place than the file's."""
    self.theirs |= tensors
    self.resized |= tensors.keys()

  def leave(self, names: Collection[str]) -> None:
    """Leaves tensors of the model at their initial values."""
    self.left |= set(names)
    self.theirs = {k: v for k, v in self.theirs.items() if k not in self.left}

  def leave_head(self) -> None:
    """Leaves the head at its values, and drops the file's."""
    ours = {name for name in self.shapes if name.startswith('head.')}
    self.dropped |= {k for k in self.extra if _HEAD.match(k)}
    self.dropped |= {self.official[k] for k in ours & self.theirs.keys()}
    self.leave(ours)

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
  names: naming.Naming,
  allow: Collection[str],
) -> Match:
  """Finds our tensors in a file, by one publisher's names."""
  paths = {'.'.join(map(str, path)): path for path in tensors}
  shapes = {name: tensors[path].shape for name, path in paths.items()}
  parts = {name: names.parts(name) for name in shapes}
  theirs = {
    name: names.to_ours(name, [np.asarray(source[k]) for k in keys], len(shape))
    for (name, shape), keys in zip(shapes.items(), parts.values(), strict=True)
    if source.keys() >= set(keys)
  }
  official = {name: names.official(name) for name in shapes}
  for pattern, value in names.absent:
    if not any(re.search(pattern, key) for key in source):
      theirs |= {
        name: np.full(shape, value, np.float32)
        for name, shape in shapes.items()
        if re.search(pattern, official[name])
      }
  learned = {k for k in source if not naming.is_computed(k)}
  windows = {
    (x.shape[1] + 1) // 2
    for k, x in source.items()
    if k.endswith('_coords_table') and hasattr(x, 'shape')
  }
  return Match(
    model,
    allow,
    paths,
    shapes,
    official=official,
    theirs=theirs,
    # A tensor of which a part is missing is extra.
    extra=learned.difference(*(parts[name] for name in theirs)),
    windows=windows,
    image=names.image,
  )
