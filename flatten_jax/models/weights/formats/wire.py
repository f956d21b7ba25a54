# SPDX-License-Identifier: Apache-2.0
"""Reads protocol buffers without their schema: numbers and bytes of fields."""

from collections.abc import Iterator

_SIZES = {1: 8, 5: 4}  # Kind of a field -> its bytes.


def varint(data: memoryview, place: int) -> tuple[int, int]:
  """Reads a whole number of seven bits a byte; returns it and the next place.

  Raises:
    EOFError: the data end before, or the number has more than 64 bits.
  """
  value = shift = 0
  while place < len(data) and shift < 64:
    byte = data[place]
    place += 1
    value |= (byte & 127) << shift
    if byte < 128:
      return value, place
    shift += 7
  raise EOFError('a number is not complete')


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
  """Yields number and value of each field: whole numbers, or bytes.

  Raises:
    EOFError: the last field is not complete.
    ValueError: this is not a protocol buffer.
  """
  place = 0
  while place < len(data):
    key, place = varint(data, place)
    number, kind = key >> 3, key & 7
    if kind == 0:
      value, place = varint(data, place)
      yield number, value
      continue
    if kind == 2:
      size, place = varint(data, place)
    elif kind in _SIZES:
      size = _SIZES[kind]
    else:
      raise ValueError(f'field {number} is of an unknown kind, {kind}')
    value = data[place : place + size]
    place += size
    if len(value) < size:
      raise EOFError(f'field {number} is not complete')
    yield number, value


def numbers(value: int | memoryview) -> Iterator[int]:
  """Yields the whole numbers of a field, which may be packed in bytes."""
  if isinstance(value, int):
    yield value
    return
  place = 0
  while place < len(value):
    number, place = varint(value, place)
    yield number
