# SPDX-License-Identifier: Apache-2.0
"""Reads checkpoints of TensorFlow, without it: an index and files of tensors.

`x.index` is a table of LevelDB, from names to places in `x.data-...`, which
are not compressed. Checksums are not compared; sizes are.
"""

from collections.abc import Iterator
import math
import pathlib
import struct

import ml_dtypes
import numpy as np

from flatten_jax.models.weights.formats import wire
from flatten_jax.models.weights.formats.errors import (
  Unreadable,
  UnsuitableFileError,
)

MAGIC = bytes.fromhex('57fb808b247547db')  # At the end of an index.
_FOOTER = 48  # Bytes.
_DTYPES = {
  1: np.float32,
  2: np.float64,
  3: np.int32,
  4: np.uint8,
  5: np.int16,
  6: np.int8,
  9: np.int64,
  10: np.bool_,
  14: ml_dtypes.bfloat16,
  19: np.float16,
}


def is_index(path: pathlib.Path) -> bool:
  """Returns whether a file ends as an index does."""
  with path.open('rb') as file:
    file.seek(0, 2)
    file.seek(max(file.tell() - len(MAGIC), 0))
    return file.read() == MAGIC


def data_file(index: str, shard: int = 0, count: int = 1) -> str:
  """Returns the name, or the URL, of a file of tensors, given its index's."""
  return f'{index.removesuffix(".index")}.data-{shard:05}-of-{count:05}'


def read(path: pathlib.Path) -> dict[str, np.ndarray | Unreadable]:
  """Returns the tensors of a checkpoint, given its index.

  Raises:
    UnsuitableFileError: a file of tensors is missing, or the index is another
      table of LevelDB.
  """
  tensors, count = {}, 1
  for name, entry in _entries(memoryview(path.read_bytes())):
    found = dict(wire.fields(entry))
    if name:
      tensors[name] = _tensor(path, found, count)
    else:  # The header.
      count = found.get(1, 1)
  return tensors


def _tensor(path, entry, count):
  """Reads a tensor, given the fields of its entry."""
  kind = entry.get(1, 0)
  if kind not in _DTYPES:
    return Unreadable(f'type {kind} of TensorFlow')
  shape = [
    dict(wire.fields(dim)).get(1, 0)
    for number, dim in wire.fields(entry.get(2, memoryview(b'')))
    if number == 2
  ]
  file = path.with_name(data_file(path.name, entry.get(3, 0), count))
  if not file.is_file():
    raise UnsuitableFileError(
      f'is an index; {file.name}, the tensors, is missing.'
    )
  dtype = np.dtype(_DTYPES[kind]).newbyteorder('<')
  if entry.get(5, 0) != math.prod(shape) * dtype.itemsize:
    raise ValueError(f'{shape} is not the size of a tensor')
  value = np.fromfile(file, dtype, math.prod(shape), offset=entry.get(4, 0))
  return value.reshape(shape)


def _entries(table: memoryview) -> Iterator[tuple[str, memoryview]]:
  """Yields names and values of a table of LevelDB."""
  footer = table[-_FOOTER:]
  _, place = wire.varint(footer, 0)
  _, place = wire.varint(footer, place)
  for _, block in _block(table, footer[place:]):
    for name, value in _block(table, block):
      yield name.decode(), value


def _block(
  table: memoryview, handle: memoryview
) -> Iterator[tuple[bytes, memoryview]]:
  """Yields the entries of a block; keys leave out what the last one has."""
  start, place = wire.varint(handle, 0)
  size, _ = wire.varint(handle, place)
  block = table[start : start + size]
  if table[start + size]:
    raise UnsuitableFileError(
      'is a compressed table of LevelDB, not an index of TensorFlow.'
    )
  (restarts,) = struct.unpack('<I', block[-4:])
  block, place, key = block[: size - 4 - 4 * restarts], 0, b''
  while place < len(block):
    shared, place = wire.varint(block, place)
    own, place = wire.varint(block, place)
    length, place = wire.varint(block, place)
    key = key[:shared] + bytes(block[place : place + own])
    place += own
    yield key, block[place : place + length]
    place += length
