# SPDX-License-Identifier: Apache-2.0
"""RandAugment for clips: random operations at one magnitude.

Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced
search space", 2020, in the variant of UniFormer's training: magnitudes are
noisy; in the 'increasing' set, a greater one always means a greater change.
"""

from collections.abc import Callable
import dataclasses
import re

import numpy as np

from flatten_jax.inputs.augment import color_ops

HIGHEST = 10.0  # magnitude


@dataclasses.dataclass(frozen=True)
class Operation:
  """One operation; its argument is a function of level, 0 to 1, and sign."""

  apply: Callable[..., np.ndarray]
  argument: Callable[[float, int], float] | None = None
  increasing: Callable[[float, int], float] | None = None  # If different.

  def __call__(
    self, clip: np.ndarray, magnitude: float, sign: int, increasing: bool
  ) -> np.ndarray:
    """Applies the operation at a magnitude from 0 to 10."""
    argument = (increasing and self.increasing) or self.argument
    if argument is None:
      return self.apply(clip)
    return self.apply(clip, argument(magnitude / HIGHEST, sign))


def _signed(most: float) -> Callable[[float, int], float]:
  return lambda level, sign: most * level * sign


# Factors: below 1 weakens, above 1 enhances.
_ENHANCE = (
  lambda level, sign: 0.1 + 1.8 * level,
  lambda level, sign: 1.0 + 0.9 * level * sign,
)
OPERATIONS = {
  'AutoContrast': Operation(color_ops.autocontrast),
  'Equalize': Operation(color_ops.equalize),
  'Invert': Operation(color_ops.invert),
  'Rotate': Operation(color_ops.rotate, _signed(30.0)),  # degrees
  'Posterize': Operation(  # bits that are kept
    color_ops.posterize,
    lambda level, sign: int(4 * level),
    lambda level, sign: 4 - int(4 * level),
  ),
  'Solarize': Operation(  # the level from which to invert
    color_ops.solarize,
    lambda level, sign: int(256 * level),
    lambda level, sign: 256 - int(256 * level),
  ),
  'SolarizeAdd': Operation(
    color_ops.solarize_add, lambda level, sign: int(110 * level)
  ),
  'Color': Operation(color_ops.color, *_ENHANCE),
  'Contrast': Operation(color_ops.contrast, *_ENHANCE),
  'Brightness': Operation(color_ops.brightness, *_ENHANCE),
  'Sharpness': Operation(color_ops.sharpness, *_ENHANCE),
  'ShearX': Operation(color_ops.shear_x, _signed(0.3)),
  'ShearY': Operation(color_ops.shear_y, _signed(0.3)),
  'TranslateX': Operation(color_ops.translate_x, _signed(0.45)),
  'TranslateY': Operation(color_ops.translate_y, _signed(0.45)),
}


@dataclasses.dataclass(frozen=True)
class RandAugment:
  """Applies the same random operations to all frames. uint8 [T H W 3]."""

  magnitude: float = HIGHEST  # from 0; its meaning depends on the operation
  count: int = 2  # operations drawn for a clip, with replacement
  std: float = 0.0  # of the normal noise on the magnitude
  increasing: bool = False  # a greater magnitude is always a greater change
  probability: float = 0.5  # of applying a drawn operation

  @classmethod
  def parse(cls, text: str) -> 'RandAugment':
    """Parses timm's notation, 'rand-m7-n4-mstd0.5-inc1', and 'p'."""
    fields = {
      'm': ('magnitude', float),
      'n': ('count', int),
      'mstd': ('std', float),
      'inc': ('increasing', lambda value: bool(int(value))),
      'p': ('probability', float),
    }
    form = r'rand(-(m|mstd|p)\d*\.?\d+|-(n|inc)\d+)*'
    is_valid = re.fullmatch(form, text, re.ASCII)
    values = {}
    for key, value in (
      re.findall(r'-([a-z]+)([\d.]+)', text) if is_valid else ()
    ):
      name, convert = fields[key]
      values[name] = convert(value)
    augment = cls(**values)
    if not is_valid or augment.magnitude > HIGHEST or augment.probability > 1:
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
