# SPDX-License-Identifier: Apache-2.0
"""Reads .caffemodel files: arrays by the names of layers."""

import pathlib

import numpy as np

from flatten_jax.models.weights.formats import wire

# Field of layers in a network, now or before 2015 -> those of name and arrays.
_LAYERS = {100: (1, 7), 2: (4, 6)}
# Number of arrays -> their names; four are TSN's batch norm.
_PARTS = {
  1: ('weight',),
  2: ('weight', 'bias'),
  4: ('weight', 'bias', 'running_mean', 'running_var'),
}
_BATCH_NORM = 4


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Returns `layer.weight` and the like; a slash in a name becomes a line.

  An array of a layer that PyTorch does not have is `layer.0`, `layer.1` ...

  Raises:
    EOFError, ValueError: this is not a network of Caffe.
  """
  tensors = {}
  for number, layer in wire.fields(memoryview(path.read_bytes())):
    if number not in _LAYERS:
      continue
    name, arrays = '', []
    name_field, array_field = _LAYERS[number]
    for field, value in wire.fields(layer):
      if field == name_field:
        name = bytes(value).decode().replace('/', '_')
      elif field == array_field:
        arrays.append(_array(value))
    parts = _PARTS.get(len(arrays), map(str, range(len(arrays))))
    for part, array in zip(parts, arrays, strict=True):
      if part != 'weight' or len(arrays) == _BATCH_NORM:
        array = array.reshape(-1)
      tensors[f'{name}.{part}'] = array
  return tensors


def _array(blob: memoryview) -> np.ndarray:
  """Reads an array; matrices once had two axes of 1 in front."""
  parts, shape, old = {5: [], 8: []}, [], dict.fromkeys((1, 2, 3, 4), 1)
  for field, value in wire.fields(blob):
    if field in parts:  # All numbers at once or, before 2014, one by one.
      parts[field].append(value)
    elif field in old:
      old[field] = value
    elif field == 7:
      for _, dims in wire.fields(value):
        shape.extend(wire.numbers(dims))
  dtype, data = ('<f8', parts[8]) if parts[8] else ('<f4', parts[5])
  shape = shape or list(old.values())
  if shape[:2] == [1, 1] and len(shape) == 4:
    shape = shape[2:]
  return np.frombuffer(b''.join(data), dtype).reshape(shape)
