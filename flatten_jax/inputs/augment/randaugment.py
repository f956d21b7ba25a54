# SPDX-License-Identifier: Apache-2.0
"""RandAugment for clips: random operations at one magnitude.

Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced
search space", 2020, in the variant of UniFormer's training: an operation is
applied with probability p, at a noisy magnitude; in the 'increasing' set, a
greater magnitude always means a greater change.
"""

from collections.abc import Callable
import dataclasses
import re

import numpy as np

from flatten_jax.inputs.augment import color_ops

HIGHEST = 10.0  # magnitude


def _enhance(level: float, sign: int) -> tuple[float]:
  """Returns a factor from 0.1 to 1.9; below 1 weakens, above 1 enhances."""
  return (0.1 + 1.8 * level,)


def _enhance_more(level: float, sign: int) -> tuple[float]:
  """Returns a factor that differs from 1 by up to 0.9."""
  return (1.0 + 0.9 * level * sign,)


def _nothing(level: float, sign: int) -> tuple[()]:
  return ()


def _signed(most: float) -> Callable[[float, int], tuple[float]]:
  return lambda level, sign: (most * level * sign,)


@dataclasses.dataclass(frozen=True)
class Operation:
  """One operation and its argument by level, 0 to 1, and sign, 1 or -1."""

  apply: Callable[..., np.ndarray]
  argument: Callable[[float, int], tuple]
  increasing: Callable[[float, int], tuple] | None = None  # If different.

  def __call__(
    self, clip: np.ndarray, magnitude: float, sign: int, increasing: bool
  ) -> np.ndarray:
    """Applies the operation at a magnitude from 0 to 10."""
    argument = (increasing and self.increasing) or self.argument
    return self.apply(clip, *argument(magnitude / HIGHEST, sign))


OPERATIONS = {
  'AutoContrast': Operation(color_ops.autocontrast, _nothing),
  'Equalize': Operation(color_ops.equalize, _nothing),
  'Invert': Operation(color_ops.invert, _nothing),
  'Rotate': Operation(color_ops.rotate, _signed(30.0)),  # degrees
  'Posterize': Operation(  # bits that are kept
    color_ops.posterize,
    lambda level, sign: (int(4 * level),),
    lambda level, sign: (4 - int(4 * level),),
  ),
  'Solarize': Operation(  # the level from which to invert
    color_ops.solarize,
    lambda level, sign: (int(256 * level),),
    lambda level, sign: (256 - int(256 * level),),
  ),
  'SolarizeAdd': Operation(
    color_ops.solarize_add, lambda level, sign: (int(110 * level),)
  ),
  'Color': Operation(color_ops.color, _enhance, _enhance_more),
  'Contrast': Operation(color_ops.contrast, _enhance, _enhance_more),
  'Brightness': Operation(color_ops.brightness, _enhance, _enhance_more),
  'Sharpness': Operation(color_ops.sharpness, _enhance, _enhance_more),
  'ShearX': Operation(color_ops.shear_x, _signed(0.3)),
  'ShearY': Operation(color_ops.shear_y, _signed(0.3)),
  'TranslateX': Operation(color_ops.translate_x, _signed(0.45)),
  'TranslateY': Operation(color_ops.translate_y, _signed(0.45)),
}


@dataclasses.dataclass(frozen=True)
class RandAugment:
  """Applies the same random operations to all frames. uint8 [T H W 3] -> same.

  Attributes:
    magnitude: 0 to 10; its meaning depends on the operation.
    count: operations drawn for a clip, with replacement.
    std: of the normal noise on the magnitude.
    increasing: whether a greater magnitude always means a greater change.
    probability: that a drawn operation is applied.
  """

  magnitude: float = 10.0
  count: int = 2
  std: float = 0.0
  increasing: bool = False
  probability: float = 0.5

  @classmethod
  def parse(cls, text: str) -> 'RandAugment':
    """Parses timm's notation, 'rand-m7-n4-mstd0.5-inc1', and 'p'.

    Raises:
      ValueError: it has another form.
    """
    start, *parts = text.split('-')
    fields = {
      'm': ('magnitude', float),
      'n': ('count', int),
      'mstd': ('std', float),
      'inc': ('increasing', lambda value: bool(int(value))),
      'p': ('probability', float),
    }
    values = {}
    for part in parts:
      match = re.fullmatch(r'(mstd|inc|m|n|p)([0-9]*\.?[0-9]+)', part)
      try:
        name, convert = fields[match[1]]
        values[name] = convert(match[2])
      except (TypeError, ValueError):
        start = ''
    augment = cls(**values)
    if (
      start != 'rand' or augment.magnitude > HIGHEST or augment.probability > 1
    ):
      raise ValueError(
        "data.randaugment is like 'rand-m7-n4-mstd0.5-inc1': magnitude m (at "
        'most 10), n operations, mstd, inc and p (at most 1; by default '
        f"0, 0 and 0.5); or '' for none. It is {text!r}."
      )
    return augment

  def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Applies the drawn operations in the order of drawing."""
    clip = np.ascontiguousarray(clip)
    operations = list(OPERATIONS.values())
    for number in rng.integers(len(operations), size=self.count):
      if rng.random() < self.probability:
        magnitude = np.clip(rng.normal(self.magnitude, self.std), 0, HIGHEST)
        sign = 1 if rng.random() < 0.5 else -1
        clip = operations[number](clip, magnitude, sign, self.increasing)
    return clip
