# SPDX-License-Identifier: Apache-2.0
"""Reads files of torch.save without PyTorch, and safely.

A .pth file is a zip archive: a pickle that describes the tensors, and one file
of raw bytes for each storage. Before PyTorch 1.6 it was a series of pickles,
followed by the storages. A pickle may call any function; this reader builds
tensors and ordered dictionaries, and a placeholder for all else.
"""

import collections
import pathlib
import pickle
import struct
from typing import Any, BinaryIO
import zipfile

import ml_dtypes
import numpy as np

from flatten_jax.models.weights.formats.errors import (
  Unreadable,
  UnsuitableFileError,
)

_STORAGES = {
  'DoubleStorage': np.float64,
  'FloatStorage': np.float32,
  'HalfStorage': np.float16,
  'BFloat16Storage': ml_dtypes.bfloat16,
  'LongStorage': np.int64,
  'IntStorage': np.int32,
  'ShortStorage': np.int16,
  'CharStorage': np.int8,
  'ByteStorage': np.uint8,
  'BoolStorage': np.bool_,
}
# The first object of a file before PyTorch 1.6, a whole number.
_MAGIC = 0x1950A86A20F9469CFC6C.to_bytes(10, 'little')


class Placeholder(dict):
  """An object of a class that is not built; keeps items, not state."""

  __hash__ = object.__hash__

  def __init__(self, *args, **kwargs):
    """Takes any arguments."""

  # Lists' subclasses get items by `append` or `extend`.
  __setstate__ = append = extend = lambda self, value: None


def wrote(path: pathlib.Path) -> bool:
  """Returns whether a file is one of torch.save, or another archive."""
  with path.open('rb') as file:
    return _MAGIC in file.read(30) or zipfile.is_zipfile(path)


def read(path: pathlib.Path) -> Any:
  """Returns the content of a file of torch.save, with numpy arrays.

  Raises:
    UnsuitableFileError: it is a zip archive or a pickle of something else.
  """
  read_any = _read_zip if zipfile.is_zipfile(path) else _read_before_1_6
  with path.open('rb') as file:
    content = read_any(file)
  if isinstance(content, Placeholder):
    kind = type(content)
    raise UnsuitableFileError(
      f'holds an object of {kind.__module__}.{kind.__qualname__}, a model '
      'perhaps, not its tensors. In PyTorch: torch.save('
      "torch.load('old', weights_only=False).state_dict(), 'new.pth')"
    )
  return content


def _read_zip(file: BinaryIO) -> Any:
  """Reads the pickle in an archive, whose tensors are files beside it."""
  with zipfile.ZipFile(file) as archive:
    names = archive.namelist()
    if any(name.endswith('/constants.pkl') for name in names):
      raise UnsuitableFileError(
        'is a TorchScript archive, which contains code. In PyTorch: '
        "torch.save(torch.jit.load('old').state_dict(), 'new.pth')"
      )
    pickles = [name for name in names if name.endswith('/data.pkl')]
    if len(pickles) != 1:
      raise UnsuitableFileError('is a zip archive, but not from PyTorch.')
    with archive.open(pickles[0]) as file:
      folder = pickles[0].removesuffix('data.pkl')
      return _TensorUnpickler(
        file, lambda key, *_: archive.read(f'{folder}data/{key}')
      ).load()


def _read_before_1_6(file: BinaryIO) -> Any:
  """Reads pickles, then the storages that the tensors are views of."""
  sizes = {}

  def reserve(key, dtype, count):
    sizes[key] = np.dtype(dtype).itemsize
    return bytearray(count * sizes[key])

  for _ in range(3):  # Magic number, version and byte order.
    _TensorUnpickler(file, reserve).load()
  unpickler = _TensorUnpickler(file, reserve)
  content = unpickler.load()
  for key in _TensorUnpickler(file, reserve).load():
    if key not in unpickler.buffers:  # Of an unknown length in bytes.
      raise UnsuitableFileError('has tensors that are not of real numbers.')
    (count,) = struct.unpack('<q', file.read(8))
    buffer = unpickler.buffers[key]
    if count * sizes[key] != len(buffer) or file.readinto(buffer) < len(buffer):
      raise EOFError(f'storage {key} is not complete')
  return content


class _TensorUnpickler(pickle.Unpickler):
  """An unpickler that builds only tensors and containers."""

  def __init__(self, file, read_buffer):
    """Takes a function (key, dtype, count) -> bytes of a storage."""
    super().__init__(file)
    self._read_buffer = read_buffer
    self.buffers = {}

  def find_class(self, module: str, name: str) -> object:
    """Returns the few classes that weights need, else a placeholder."""
    if module == 'torch' and name in _STORAGES:
      return _STORAGES[name]
    if (module, name) == ('collections', 'OrderedDict'):
      return collections.OrderedDict
    if module in ('torch._utils', 'torch._tensor') and name in _REBUILD:
      return _REBUILD[name]
    if module.startswith('torch.') and name.startswith('_rebuild_'):
      return lambda *_: Unreadable(name)
    # An argparse.Namespace, an optimizer: not run.
    return type(name, (Placeholder,), {'__module__': module})

  def persistent_load(self, pid: tuple) -> tuple | Unreadable:
    """Returns type and bytes of a storage; tensors may share it."""
    kind, dtype, key, _, count, *_ = (*pid, None, None)
    if kind != 'storage':  # ('module', its class, source code), before 1.6.
      return dtype
    if dtype not in _STORAGES.values():
      return Unreadable(getattr(dtype, '__name__', str(dtype)))
    if key not in self.buffers:
      self.buffers[key] = self._read_buffer(key, dtype, count)
    return dtype, self.buffers[key]


def _tensor(storage, offset, shape, strides, *_):
  """Builds a view of a storage; numpy refuses what is outside of it."""
  if isinstance(storage, Unreadable):
    return storage
  dtype, buffer = storage
  size = np.dtype(dtype).itemsize
  strides = [size * stride for stride in strides]
  return np.ndarray(shape, dtype, buffer, size * offset, strides)


_REBUILD = {
  '_rebuild_tensor': _tensor,
  '_rebuild_tensor_v2': _tensor,
  '_rebuild_parameter': lambda tensor, *_: tensor,
  '_rebuild_parameter_with_state': lambda tensor, *_: tensor,
  # A tensor with attributes; the function is one that find_class returned.
  '_rebuild_from_type_v2': lambda function, _, args, *__: function(*args),
}
