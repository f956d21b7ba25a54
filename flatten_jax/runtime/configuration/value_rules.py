# SPDX-License-Identifier: Apache-2.0
"""Rules of the values that a config key can take, and their words."""

from collections.abc import Callable, Sequence
import dataclasses
import math
import numbers
from typing import Any


@dataclasses.dataclass(frozen=True)
class Rule:
  """The values of a key.

  Attributes:
    wanted: the values in words, after "must be".
    takes: returns whether a value is one of them.
  """

  wanted: str
  takes: Callable[[Any], bool]


def real(
  low: float | None = None,
  high: float | None = None,
  *,
  above: float | None = None,
  below: float | None = None,
  also: float | None = None,
) -> Rule:
  """Takes finite numbers: `low` and `high` allowed, `above` and `below` not."""

  def takes(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
      return False
    return value == also or (
      math.isfinite(value)
      and (low is None or low <= value)
      and (high is None or value <= high)
      and (above is None or above < value)
      and (below is None or value < below)
    )

  lower = f'{low:g} or more' if above is None else f'more than {above:g}'
  upper = f' and at most {high:g}' if high is not None else ''
  upper = f' and less than {below:g}' if below is not None else upper
  words = f'from {low:g} to {high:g}' if None not in (low, high) else ''
  words = f'a number, {words or lower + upper}'
  return Rule(words + ('' if also is None else f', or {also:g}'), takes)


def whole(low: int, high: int | None = None, also: int | None = None) -> Rule:
  """Takes whole numbers from `low` to `high`."""
  number = real(low, high, also=also)
  words = f'{low} or more' if high is None else f'from {low} to {high}'
  words += '' if also is None else f', or {also}'
  return Rule(
    f'a whole number, {words}',
    lambda value: isinstance(value, numbers.Integral) and number.takes(value),
  )


def one_of(*choices: str) -> Rule:
  """Takes one of a few words."""
  return Rule(
    ' or '.join(map(repr, choices)),
    lambda value: isinstance(value, str) and value in choices,
  )


def several(length: int, each: Rule, *, empty: bool = False) -> Rule:
  """Takes `length` values of one rule, or () if `empty`."""

  def takes(value: Any) -> bool:
    if isinstance(value, str) or not isinstance(value, Sequence):
      return False
    fits = len(value) == length or (empty and not value)
    return fits and all(map(each.takes, value))

  return Rule(f'{length} values, each {each.wanted}', takes)


def limits(each: Rule) -> Rule:
  """Takes a pair of the lowest and the highest value."""
  pair = several(2, each)
  return Rule(
    f'(lowest, highest), each {each.wanted}',
    lambda value: pair.takes(value) and value[0] <= value[1],
  )


def instance(kind: type, wanted: str) -> Rule:
  """Takes values of one type."""
  return Rule(wanted, lambda value: isinstance(value, kind))


def ascending(each: Rule) -> Rule:
  """Takes any number of values, each larger than the one before."""

  def takes(value: Any) -> bool:
    if isinstance(value, str) or not isinstance(value, Sequence):
      return False
    return all(map(each.takes, value)) and list(value) == sorted(set(value))

  return Rule(f'values in ascending order, each {each.wanted}', takes)
