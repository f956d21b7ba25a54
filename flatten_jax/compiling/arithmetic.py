# SPDX-License-Identifier: Apache-2.0
"""Counts the multiply-adds of a compiled program."""

import functools
import math
import re

import numpy as np

from flatten_jax.compiling.hlo import Instruction, Program

# Defaults of what a window gives for each axis.
_WINDOW = {'stride': 1, 'pad': 0, 'lhs_dilate': 1, 'rhs_dilate': 1}


def multiply_adds(program: Program) -> int:
  """Returns those of products and convolutions; zeros of padding are free."""
  return sum(
    times * _of_instruction(program, instruction)
    for instruction, times in program.instructions
  )


def _of_instruction(program: Program, instruction: Instruction) -> int:
  text = instruction.attributes
  if instruction.kind == 'dot':
    left = program.operand(instruction, 0)
    axes = _numbers(text, 'lhs_contracting_dims')
    return instruction.arrays[0].size * math.prod(
      left.shape[axis] for axis in axes
    )
  if instruction.kind == 'convolution' or 'dim_labels=' in text:
    return _convolution(program, instruction)
  if instruction.kind == 'custom-call' and '__cublas$' in text:
    left = program.operand(instruction, 0)
    found = re.search(r'"lhs_contracting_dimensions":\[([^\]]*)\]', text)
    axes = re.findall(r'\d+', found[1]) if found else []
    return instruction.arrays[0].size * math.prod(
      left.shape[int(axis)] for axis in axes
    )
  if 'fmha' in text:
    return _fused_attention(program, instruction)
  return 0


def _convolution(program: Program, instruction: Instruction) -> int:
  text, out = instruction.attributes, instruction.arrays[0]
  labels = re.search(r'dim_labels=(\w+)_(\w+)->(\w+)', text)
  if not labels:
    return 0
  sides = [program.operand(instruction, i) for i in (0, 1)]
  images, kernel, result = sides[0], sides[1], out
  # cuDNN's gradients name the result of the forward pass an operand.
  if 'BackwardFilter' in text:
    images, kernel, result = sides[0], out, sides[1]
  elif 'BackwardInput' in text:
    images, kernel, result = out, sides[1], sides[0]
  places = [
    {label: axis for axis, label in enumerate(part)} for part in labels.groups()
  ]
  window = _window(text)
  pairs = 1
  for label in places[0]:
    if not label.isdigit():  # 'b' or 'f'.
      continue
    pairs *= _valid_pairs(
      images.shape[places[0][label]],
      kernel.shape[places[1][label]],
      result.shape[places[2][label]],
      *(
        window[name][int(label)][0] if name in window else default
        for name, default in _WINDOW.items()
      ),
    )
  return (
    pairs
    * result.shape[places[2]['b']]
    * result.shape[places[2]['f']]
    * kernel.shape[places[1]['i']]
  )


def _fused_attention(program: Program, instruction: Instruction) -> int:
  """cuDNN's: two products of a forward pass, five of a backward pass."""
  queries, keys = (program.operand(instruction, i) for i in (0, 1))
  products = 5 if 'Backward' in instruction.attributes else 2
  return products * queries.size * keys.shape[1]


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
def _valid_pairs(
  image: int,
  kernel: int,
  out: int,
  stride: int,
  pad: int,
  dilation: int,
  kernel_dilation: int,
) -> int:
  """Counts pairs of output and kernel positions that meet no zero, on an axis.

  Args:
    image: positions of the input.
    kernel: of the kernel.
    out: of the output.
    stride: of the output, in positions of the input.
    pad: positions of padding before the input.
    dilation: of the input.
    kernel_dilation: of the kernel.
  """
  place = (
    np.arange(out)[:, None] * stride
    + np.arange(kernel)[None] * kernel_dilation
    - pad
  )
  whole = (place % dilation == 0) & (place >= 0)
  return int((whole & (place // dilation < image)).sum())
