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

import numpy as np

COLLECTIVES = (
  'all-reduce',
  'all-gather',
  'reduce-scatter',
  'collective-permute',
  'all-to-all',
)
_CALLBACKS = ('infeed', 'outfeed', 'send', 'recv')
_BITS = {'pred': 8, 'bf16': 16, 'c64': 64, 'c128': 128}  # Others tell.
_SHAPE = re.compile(r'\b([a-z]\w*)\[([\d,]*)\](?:\{([^}]*)\})?')
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
  def bytes(self) -> int:
    """Bytes without padding."""
    digits = re.search(r'\d+', self.dtype)
    bits = _BITS.get(self.dtype) or int(digits[0] if digits else 0)
    return self.size * bits // 8

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
    return self.bytes // self.size * math.prod(shape)

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
    times: collections.Counter[str] = collections.Counter()
    self._count(self._entry, 1, times)
    return [
      (instruction, times[name])
      for name, instructions in self.computations.items()
      if times[name]
      for instruction in instructions
    ]

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

  @property
  def multiply_adds(self) -> int:
    """Multiply-adds of products and convolutions; zeros of padding are free."""
    return sum(
      times * self._multiply_adds(instruction)
      for instruction, times in self.instructions
    )

  def _multiply_adds(self, instruction: Instruction) -> int:
    text = instruction.attributes
    if instruction.kind == 'dot':
      left = self.operand(instruction, 0)
      axes = _numbers(text, 'lhs_contracting_dims')
      return instruction.arrays[0].size * math.prod(
        left.shape[axis] for axis in axes
      )
    if instruction.kind == 'convolution' or 'dim_labels=' in text:
      return self._convolution(instruction)
    if instruction.kind == 'custom-call' and '$gemm' in text:
      left = self.operand(instruction, 0)
      found = re.search(r'"lhs_contracting_dimensions":\[([^\]]*)\]', text)
      axes = re.findall(r'\d+', found[1]) if found else []
      return instruction.arrays[0].size * math.prod(
        left.shape[int(axis)] for axis in axes
      )
    if 'fmha' in text:
      return self._fused_attention(instruction)
    return 0

  def _convolution(self, instruction: Instruction) -> int:
    text, out = instruction.attributes, instruction.arrays[0]
    labels = re.search(r'dim_labels=(\w+)_(\w+)->(\w+)', text)
    if not labels:
      return 0
    sides = [self.operand(instruction, i) for i in (0, 1)]
    images, kernel, result = sides[0], sides[1], out
    # cuDNN's gradients name the result of the forward pass an operand.
    if 'BackwardFilter' in text:
      images, kernel, result = sides[0], out, sides[1]
    elif 'BackwardInput' in text:
      images, kernel, result = out, sides[1], sides[0]
    places = [
      {label: axis for axis, label in enumerate(part)}
      for part in labels.groups()
    ]
    window = _window(text)
    pairs = 1
    for axis in sorted(label for label in places[0] if label.isdigit()):
      number = int(axis)
      pairs *= valid_pairs(
        images.shape[places[0][axis]],
        kernel.shape[places[1][axis]],
        result.shape[places[2][axis]],
        window.get('stride', ()),
        window.get('pad', ()),
        window.get('lhs_dilate', ()),
        window.get('rhs_dilate', ()),
        number,
      )
    return (
      pairs
      * result.shape[places[2]['b']]
      * result.shape[places[2]['f']]
      * kernel.shape[places[1]['i']]
    )

  def _fused_attention(self, instruction: Instruction) -> int:
    """cuDNN's: two products of a forward pass, five of a backward pass."""
    queries, keys = (self.operand(instruction, i) for i in (0, 1))
    products = 5 if 'Backward' in instruction.attributes else 2
    return products * queries.size * keys.shape[1]

  def collectives(self) -> dict[tuple[str, str], tuple[int, int]]:
    """Returns the messages between chips: their number and bytes, by kind.

    {('all-reduce', 'bf16'): (62, 13 400 000)}. Bytes are those of the whole
    array that a chip has at the end.
    """
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for instruction, times in self.instructions:
      kind = instruction.kind.removesuffix('-start')
      if kind not in COLLECTIVES:
        continue
      arrays = instruction.arrays
      if instruction.kind.endswith('-start') and kind != 'all-reduce':
        arrays = arrays[1:2]  # After the operand; then its own bookkeeping.
      for array in arrays:
        key = kind, array.dtype
        count, size = found.get(key, (0, 0))
        found[key] = count, size + times * array.bytes
      key = kind, arrays[0].dtype
      found[key] = found[key][0] + times, found[key][1]
    return found

  def host_callbacks(self) -> int:
    """Counts instructions that wait for the host."""
    return sum(
      times
      for instruction, times in self.instructions
      if instruction.kind in _CALLBACKS or 'callback' in _target(instruction)
    )

  def recomputed(self) -> int:
    """Counts instructions that XLA repeats to save memory."""
    return sum(
      '.remat' in instruction.name for instruction, _ in self.instructions
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
    tuple(_arrays(rest[:end])),
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


def _arrays(text: str) -> Iterator[Array]:
  for dtype, sizes, layout in _SHAPE.findall(text):
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


def _numbers(text: str, name: str) -> list[int]:
  found = re.search(rf'{name}=\{{([^}}]*)\}}', text)
  return [int(x) for x in re.findall(r'\d+', found[1])] if found else []


def _window(text: str) -> dict[str, list]:
  """Reads 'window={size=3x3 pad=1_1x1_1}', an entry for each axis."""
  found = re.search(r'window=\{([^}]*)\}', text)
  window = {}
  for part in found[1].split() if found else ():
    name, _, values = part.partition('=')
    window[name] = [
      [int(x) for x in value.split('_')] for value in values.split('x')
    ]
  return window


@functools.lru_cache
def _pairs(image, kernel, out, stride, low, dilate, kernel_dilate) -> int:
  place = (
    np.arange(out)[:, None] * stride
    + np.arange(kernel)[None] * kernel_dilate
    - low
  )
  whole = (place % dilate == 0) & (place >= 0)
  return int((whole & (place // dilate < image)).sum())


def valid_pairs(
  image: int,
  kernel: int,
  out: int,
  strides,
  pads,
  dilations,
  kernel_dilations,
  axis: int,
) -> int:
  """Counts pairs of output and kernel positions that meet no zero.

  Args:
    image: positions of the input along the axis.
    kernel: of the kernel.
    out: of the output.
    strides: of every axis, as `_window` reads them; likewise the others.
    pads: before and after.
    dilations: of the input.
    kernel_dilations: of the kernel.
    axis: the number of the axis.
  """

  def of_axis(values, default):
    return values[axis][0] if len(values) > axis else default

  return _pairs(
    image,
    kernel,
    out,
    of_axis(strides, 1),
    of_axis(pads, 0),
    of_axis(dilations, 1),
    of_axis(kernel_dilations, 1),
  )


def _target(instruction: Instruction) -> str:
  found = re.search(r'custom_call_target="([^"]*)"', instruction.attributes)
  return found[1] if found else ''


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


def memory_report(text: str, program: Program) -> tuple[int, list[Buffer]]:
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
    if len(fields) < 5 or not _SHAPE.search(fields[-1]):
      continue
    size = re.match(r'([\d.]+)([KMGT]?i?B)', fields[1])
    if not size:
      continue
    count = float(size[1]) * _UNITS[size[2]]
    values = [
      array
      for value in _arrays(fields[-1])
      for array in (value, *padded[str(value)])
      if array.padded_bytes <= 1.01 * count
    ]
    if values:
      largest = max(values, key=lambda value: value.padded_bytes)
      padding = largest.padded_bytes / max(largest.bytes, 1)
      buffers.append(Buffer(round(count), str(largest), padding))
  buffers.sort(key=lambda buffer: -buffer.bytes)
  return int(total[1]) if total else 0, buffers


_UNITS = {'B': 1, 'KiB': 2**10, 'MiB': 2**20, 'GiB': 2**30, 'TiB': 2**40}
