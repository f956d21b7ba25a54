# SPDX-License-Identifier: Apache-2.0
"""Counts the messages between chips of a compiled program."""

from collections.abc import Iterator
import re

from flatten_jax.compiling.hlo import Array, Instruction, Program, called_by

KINDS = (
  'all-reduce',
  'all-gather',
  'reduce-scatter',
  'collective-permute',
  'all-to-all',
)


def count(program: Program) -> dict[tuple[str, str], tuple[int, int]]:
  """Returns the number and bytes of messages, by kind and type.

  {('all-reduce', 'bf16'): (62, 13 400 000)}. Bytes are those of the whole
  array: what a chip has at the end, or before it is scattered.
  """
  found: dict[tuple[str, str], tuple[int, int]] = {}
  for kind, instruction, times in _messages(program):
    arrays = _whole_arrays(program, kind, instruction)
    for array in arrays:
      key = kind, array.dtype
      number, size = found.get(key, (0, 0))
      found[key] = number, size + times * array.bytes
    key = kind, arrays[0].dtype
    found[key] = found[key][0] + times, found[key][1]
  return found


def _messages(program: Program) -> Iterator[tuple[str, Instruction, int]]:
  """Yields the kind of each collective, itself, and how often it runs.

  A TPU's compiler fuses an asynchronous one with the work meanwhile: every
  fusion from its start to its end repeats it, on the same channel.
  """
  fused, seen = set(_fused(program)), set()
  # The start first, as the work may be a loop.
  for name in sorted(program.computations, key=program.times.__getitem__):
    times = program.times[name]
    for instruction in program.computations[name] if times else ():
      kind = instruction.kind.removesuffix('-start')
      if kind not in KINDS:
        continue
      channel = re.search(r'channel_id=\d+', instruction.attributes)
      if name in fused and channel:
        if channel[0] in seen:
          continue
        seen.add(channel[0])
      yield kind, instruction, times


def _fused(program: Program) -> Iterator[str]:
  """Yields the computations of fusions."""
  for instruction, _ in program.instructions:
    if instruction.kind == 'fusion':
      yield from called_by(instruction)


def _whole_arrays(
  program: Program, kind: str, instruction: Instruction
) -> tuple[Array, ...]:
  if kind == 'reduce-scatter':
    return program.operands(instruction)
  if kind == 'all-reduce' or not instruction.kind.endswith('-start'):
    return instruction.arrays
  # Operands, as many results, and the bookkeeping.
  number = len(instruction.operands)
  return instruction.arrays[number : 2 * number]
