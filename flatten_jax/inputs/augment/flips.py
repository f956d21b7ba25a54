# SPDX-License-Identifier: Apache-2.0
"""Mirrors clips left and right, and exchanges the labels that depend on it."""

from collections.abc import Mapping, Sequence
import dataclasses

import cv2
import numpy as np

from flatten_jax.inputs.flow import fields
from flatten_jax.inputs.sources import labels
from flatten_jax.text import did_you_mean


@dataclasses.dataclass(frozen=True)
class HorizontalFlip:
  """Mirrors a clip with some probability. [T H W C] -> same.

  Attributes:
    probability: of mirroring.
    exchanged: the label of a mirrored clip, where it is another one.
    never: labels of clips that are not mirrored.
  """

  probability: float = 0.5
  exchanged: Mapping[int, int] = dataclasses.field(default_factory=dict)
  never: frozenset[int] = frozenset()

  def __call__(
    self, clip: np.ndarray, classes: Sequence[int], rng: np.random.Generator
  ) -> tuple[np.ndarray, tuple[int, ...]]:
    """Returns the clip or its mirror image, and its classes, one or several.

    A clip is not mirrored if one of its classes never is.
    """
    if rng.random() >= self.probability or not self.never.isdisjoint(classes):
      return clip, tuple(classes)
    return mirror(clip), tuple(self.exchanged.get(c, c) for c in classes)


def of_data(
  data: Mapping, class_names: Sequence[str] | None = None
) -> HorizontalFlip:
  """Returns the flip of `config.data`, of labels if their names are known.

  Raises:
    ValueError: `flip_pairs` or `flip_except` names what is not a class, or one
      class twice.
  """
  pairs, never = data['flip_pairs'], data['flip_except']
  given = [name for pair in pairs for name in pair] + list(never)
  if len({labels.canonical(name) for name in given}) < len(given):
    raise ValueError(
      'data.flip_pairs and data.flip_except must have each class once; got '
      f'{pairs!r} and {never!r}.'
    )
  if class_names is None:
    return HorizontalFlip()
  indices = {labels.canonical(name): i for i, name in enumerate(class_names)}

  def index(name: str) -> int:
    if labels.canonical(name) not in indices:
      raise ValueError(
        'data.flip_pairs and data.flip_except must name classes of the data '
        f'set; got {name!r}.{did_you_mean(name, class_names)}'
      )
    return indices[labels.canonical(name)]

  exchanged = {}
  for one, other in pairs:
    exchanged |= {index(one): index(other), index(other): index(one)}
  return HorizontalFlip(0.5, exchanged, frozenset(map(index, never)))


def told_sides(data: Mapping) -> str:
  """Returns how `config.data` says that sides tell classes; '' if it does not.

  Mirrored clips then have another label, or none.
  """
  if not data['flip']:
    return 'data.flip=False'
  keys = 'flip_pairs', 'flip_except'
  return next((f'data.{key}' for key in keys if data[key]), '')


def mirror(clip: np.ndarray) -> np.ndarray:
  """Mirrors left and right, optical flow as well. uint8 [T H W C] -> same."""
  out = np.empty_like(clip)
  for frame, target in zip(clip, out, strict=True):
    cv2.flip(frame, 1, dst=target)  # 25 times faster than numpy's copy.
  fields.mirror(out)
  return out
