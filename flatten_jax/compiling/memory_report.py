# SPDX-License-Identifier: Apache-2.0
"""Reads XLA's report of the memory that a compiled program needs."""

import collections
import dataclasses
import re

from flatten_jax.compiling.hlo import SHAPE, Array, Program, arrays_in

_UNITS = {'B': 1, 'KiB': 2**10, 'MiB': 2**20, 'GiB': 2**30, 'TiB': 2**40}


@dataclasses.dataclass(frozen=True)
class Buffer:
  """A piece of memory, and the largest value that it holds.

  Attributes:
    bytes: of the memory.
    value: its type and shape.
    padding: bytes of the value in its layout over those of its elements.
  """

  bytes: int
  value: str
  padding: float


def read(text: str, program: Program) -> tuple[int, list[Buffer]]:
  """Reads XLA's report of the memory of a device.

  Args:
    text: of the report.
    program: that it is about, which has the layouts.

  Returns:
    Bytes in all, and the buffers, the largest first.
  """
  arrays = {
    array
    for instruction, _ in program.instructions
    for array in instruction.arrays
  }
  padded: dict[str, list[Array]] = collections.defaultdict(list)
  for array in arrays:
    padded[str(array)].append(array)
  main = re.split(r'\n\s*Memory Space: (?!default)', text)[0]
  total = re.search(r'Total bytes(?: used)?: (\d+)', main)
  buffers = []
  for line in main.splitlines():
    fields = [field.strip() for field in line.split(';')]
    if len(fields) < 5 or not SHAPE.search(fields[-1]):
      continue
    size = re.match(r'([\d.]+)([KMGT]?i?B)', fields[1])
    if not size:
      continue
    count = float(size[1]) * _UNITS[size[2]]
    values = [
      array
      for value in arrays_in(fields[-1])
      for array in (value, *padded[str(value)])
      if array.padded_bytes <= 1.01 * count
    ]
    if values:
      largest = max(values, key=lambda value: value.padded_bytes)
      padding = largest.padded_bytes / max(largest.bytes, 1)
      buffers.append(Buffer(round(count), str(largest), padding))
  buffers.sort(key=lambda buffer: -buffer.bytes)
  return int(total[1]) if total else 0, buffers
