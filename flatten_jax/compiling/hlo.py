# SPDX-License-Identifier: Apache-2.0
"""Reads a compiled program, as XLA writes it (HLO text).

A program is a list of computations, and each of them one of instructions:

    %name = f32[16,64]{1,0:T(8,128)} add(%x, %y), attributes
"""

import collections
from collections.abc import Iterator
import dataclasses
import functools
import math
import re

# Instructions that name or hold values, and compute none.
_NO_WORK = ('get-tuple-element', 'bitcast', 'tuple', 'parameter', 'constant')
_CALLBACKS = ('infeed', 'outfeed', 'send', 'recv')
_BITS = {'pred': 8, 'bf16': 16, 'c64': 64, 'c128': 128}  # Others tell.
SHAPE = re.compile(r'\b([a-z]\w*)\[([\d,]*)\](?:\{([^}]*)\})?')
_CALLED = re.compile(r'(calls|body|condition|to_apply)=%?([\w.\-]+)')
_BRANCHES = re.compile(r'branch_computations=\{([^}]*)\}')


@dataclasses.dataclass(frozen=True)
class Array:
  """Type, shape and layout of a value.

  Attributes:
    dtype: as 'bf16'.
    shape: its sizes.
    layout: '1,0:T(8,128)', the axes from the fastest on, and the tiles that the
      two fastest fill; perhaps ''.
  """

  dtype: str
  shape: tuple[int, ...]
  layout: str = ''

  @property
  def size(self) -> int:
    """Number of elements."""
    return math.prod(self.shape)

  @property
  def bits(self) -> int:
    """Bits of an element."""
    digits = re.search(r'\d+', self.dtype)
    return _BITS.get(self.dtype) or int(digits[0] if digits else 0)

  @property
  def bytes(self) -> int:
    """Bytes without padding."""
    return self.size * self.bits // 8

  @property
  def padded_bytes(self) -> int:
    """Bytes with the padding of a TPU's tiles."""
    axes, _, rest = self.layout.partition(':')
    tile = re.match(r'T\(([\d,]+)\)', rest)
    if not tile or not axes or not self.size:
      return self.bytes
    shape = list(self.shape)
    sizes = map(int, reversed(tile[1].split(',')))
    for axis, size in zip(map(int, axes.split(',')), sizes, strict=False):
      shape[axis] = -(-shape[axis] // size) * size
    return math.prod(shape) * self.bits // 8

  def __str__(self) -> str:
    return f'{self.dtype}[{",".join(map(str, self.shape))}]'


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One operation: what it returns, its kind, arguments and attributes."""

  name: str
  arrays: tuple[Array, ...]
  kind: str
  arguments: str
  attributes: str

  @property
  def operands(self) -> list[str]:
    """Names of the instructions that it uses."""
    return re.findall(r'%([\w.\-]+)', self.arguments)


class Program:
  """Instructions of a program, and how often each runs."""

  def __init__(self, text: str):
    self.computations: dict[str, list[Instruction]] = {}
    self._entry, current = '', ''
    for line in text.splitlines():
      if header := re.match(r'(ENTRY )?%?([\w.\-]+) .*\{$', line):
        current = header[2]
        self.computations[current] = []
        self._entry = current if header[1] else self._entry
      elif current and (instruction := parse_instruction(line)):
        self.computations[current].append(instruction)
    self._by_name = {
      instruction.name: instruction
      for instructions in self.computations.values()
      for instruction in instructions
    }

  @functools.cached_property
  def instructions(self) -> list[tuple[Instruction, int]]:
    """Every instruction, with the number of times that it runs."""
    return [
      (instruction, self.times[name])
      for name, instructions in self.computations.items()
      if self.times[name]
      for instruction in instructions
    ]

  @functools.cached_property
  def times(self) -> collections.Counter[str]:
    """Number of times that each computation runs."""
    times: collections.Counter[str] = collections.Counter()
    self._count(self._entry, 1, times)
    return times

  def _count(self, name: str, times: int, total: collections.Counter) -> None:
    total[name] += times
    for instruction in self.computations.get(name, ()):
      loops = times
      if instruction.kind == 'while':
        loops *= trip_count(instruction, self.computations)
      for called in called_by(instruction):
        self._count(called, loops, total)

  def operand(self, instruction: Instruction, number: int) -> Array:
    """Returns the type of an operand that is one array."""
    return self._by_name[instruction.operands[number]].arrays[0]

  def operands(self, instruction: Instruction) -> tuple[Array, ...]:
    """Returns the arrays that an instruction uses."""
    names = instruction.operands
    return tuple(
      array for name in names for array in self._by_name[name].arrays
    )

  def host_callbacks(self) -> int:
    """Counts instructions that wait for the host."""
    return sum(
      times
      for instruction, times in self.instructions
      if instruction.kind in _CALLBACKS or 'callback' in _target(instruction)
    )

  def recomputed(self) -> int:
    """Counts instructions that XLA computes again to save memory."""
    return sum(
      '.remat' in instruction.name and instruction.kind not in _NO_WORK
      for instruction, _ in self.instructions
    )

  def forms(self) -> dict[str, str]:
    """Returns the forms of attention and depthwise convolution, if any."""
    names = '\n'.join(
      instruction.attributes
      for instruction, _ in self.instructions
      if 'jit(attention)' in instruction.attributes
      or 'jit(depthwise_conv)' in instruction.attributes
      or 'fmha' in instruction.attributes
    )
    found = {}
    if 'fmha' in names:
      found['attention'] = "cuDNN's fused kernel"
    elif re.search(r'jit\(attention\)[^"]*while', names):
      found['attention'] = 'some queries at a time'
    elif 'jit(attention)' in names:
      found['attention'] = 'all weights at once'
    if re.search(r'jit\(depthwise_conv\)[^"]*conv_general_dilated', names):
      found['depthwise convolution'] = "XLA's grouped convolution"
    elif 'jit(depthwise_conv)' in names:
      found['depthwise convolution'] = 'sums of shifted products'
    return found


def parse_instruction(line: str) -> Instruction | None:
  """Reads a line; None if it is not an instruction."""
  start = re.match(r'\s+(ROOT )?%?([\w.\-]+) = ', line)
  if not start:
    return None
  rest = line[start.end() :]
  end = _closing(rest, 0) + 1 if rest.startswith('(') else rest.find(' ')
  kind = re.match(r'\s*([\w\-]+)\(', rest[end:])
  if not kind:
    return None
  opening = end + kind.end() - 1
  closing = _closing(rest, opening)
  return Instruction(
    start[2],
    tuple(arrays_in(rest[:end])),
    kind[1],
    rest[opening + 1 : closing],
    rest[closing + 1 :],
  )


def _closing(text: str, opening: int) -> int:
  """Returns the place of the parenthesis that closes the one at `opening`."""
  depth = 0
  for match in re.finditer(r'[()]', text[opening:]):
    depth += 1 if match[0] == '(' else -1
    if not depth:
      return opening + match.start()
  return len(text)


def arrays_in(text: str) -> Iterator[Array]:
  """Yields the arrays of a type, as '(f32[8]{0}, bf16[2,3]{1,0})'."""
  for dtype, sizes, layout in SHAPE.findall(text):
    shape = tuple(map(int, sizes.split(','))) if sizes else ()
    yield Array(dtype, shape, layout)


def called_by(instruction: Instruction) -> Iterator[str]:
  """Yields the computations that an instruction runs, of a loop its body."""
  for role, name in _CALLED.findall(instruction.attributes):
    if role in ('calls', 'body') or instruction.kind == 'call':
      yield name
  if branches := _BRANCHES.search(instruction.attributes):
    yield from re.findall(r'%?([\w.\-]+)', branches[1])


def trip_count(
  instruction: Instruction, computations: dict[str, list[Instruction]]
) -> int:
  """Returns how often a loop runs; 1 if the program does not tell."""
  text = instruction.attributes
  if known := re.search(r'"known_trip_count":\{"n":"(\d+)"', text):
    return int(known[1])
  condition = re.search(r'condition=%?([\w.\-]+)', text)
  limits = [
    int(part.arguments)
    for part in computations.get(condition[1] if condition else '', ())
    if part.kind == 'constant' and part.arguments.isdigit()
  ]
  return max(limits, default=1)


def _target(instruction: Instruction) -> str:
  found = re.search(r'custom_call_target="([^"]*)"', instruction.attributes)
  return found[1] if found else ''
