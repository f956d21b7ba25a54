# SPDX-License-Identifier: Apache-2.0
"""Reads the tensors of a PyTorch checkpoint without PyTorch, and safely.

A .pth file is a zip archive: a pickle that describes the tensors, and one file
of raw bytes for each storage. A pickle may call any function; this reader
builds tensors and ordered dictionaries, and a placeholder for all else.
"""

import collections
from collections.abc import Mapping
import pathlib
import pickle
import zipfile

import ml_dtypes
import numpy as np

from flatten_jax import paths

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
# Keys of the weights in checkpoints that also hold optimizer state and more.
_NESTED = ('model', 'state_dict', 'model_state')


def read_tensors(path: str | pathlib.Path) -> dict[str, np.ndarray]:
  """Reads the tensors of a .safetensors, .pth or .pt file, in PyTorch's shapes.

  Args:
    path: the file; in a .pth, tensors are at the top or under 'model',
      'state_dict' or 'model_state'. Nothing in it is executed.

  Returns:
    name -> array; a leading 'module.' (from data-parallel training) is dropped.

  Raises:
    ValueError: the file does not exist, is damaged or holds something else.
  """
  path = paths.expand(path)
  if not path.is_file():
    raise ValueError(f'The file {path} does not exist.')
  try:
    if path.suffix == '.safetensors':
      from safetensors.numpy import load_file  # Imported only if needed.

      tensors = load_file(path)
    else:
      tensors = _weights(_read_archive(path), path)
  except (ValueError, OSError):
    raise
  except Exception as error:  # A damaged file may raise anything.
    raise ValueError(
      f'{path} is damaged, or not a checkpoint; fetch it again. '
      f'({type(error).__name__}: {error})'
    ) from error
  return {name.removeprefix('module.'): x for name, x in tensors.items()}


def _weights(content: object, path: pathlib.Path) -> dict[str, np.ndarray]:
  """Finds the state dict in the content of a file."""
  for key in _NESTED:
    if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
      content = content[key]
      break
  found = {}
  if isinstance(content, Mapping):
    found = {k: v for k, v in content.items() if isinstance(v, np.ndarray)}
  if not found:
    raise ValueError(
      f'{path} does not hold named tensors, neither at the top nor under '
      f'{", ".join(map(repr, _NESTED))}.'
    )
  return found


def _read_archive(path: pathlib.Path) -> object:
  """Reads the content of a .pth file, with numpy arrays for tensors."""
  if not zipfile.is_zipfile(path):
    raise ValueError(
      f'{path} is not a checkpoint of PyTorch 1.6 or later (a zip archive); '
      'load it in PyTorch and save it again, best as safetensors.'
    )
  with zipfile.ZipFile(path) as archive:
    pickles = [n for n in archive.namelist() if n.endswith('/data.pkl')]
    if len(pickles) != 1:
      raise ValueError(f'{path} is a zip archive, but not from PyTorch.')
    with archive.open(pickles[0]) as file:
      folder = pickles[0].removesuffix('data.pkl')
      return _TensorUnpickler(file, archive, folder).load()


class _TensorUnpickler(pickle.Unpickler):
  """An unpickler that builds only tensors and containers."""

  def __init__(self, file, archive: zipfile.ZipFile, folder: str):
    super().__init__(file)
    self.archive = archive
    self.folder = folder

  def find_class(self, module: str, name: str) -> object:
    """Returns the few classes that weights need, else a placeholder."""
    if module == 'torch' and name in _STORAGES:
      return _STORAGES[name]
    if (module, name) == ('collections', 'OrderedDict'):
      return collections.OrderedDict
    if (module, name) == ('torch._utils', '_rebuild_tensor_v2'):
      return _tensor
    if (module, name) == ('torch._utils', '_rebuild_parameter'):
      return _parameter
    return _Placeholder  # An argparse.Namespace, an optimizer: not run.

  def persistent_load(self, pid: tuple) -> np.ndarray:
    _, dtype, key, _, _ = pid
    if not (isinstance(dtype, type) and issubclass(dtype, np.generic)):
      raise ValueError(f'A tensor has the unknown storage type {dtype}.')
    return np.frombuffer(self.archive.read(f'{self.folder}data/{key}'), dtype)


class _Placeholder:
  """An object of a class that is not built; without state."""

  def __init__(self, *args, **kwargs):
    del args, kwargs

  def __setstate__(self, state):
    del state


def _tensor(storage, offset, shape, strides, *unused) -> np.ndarray:
  """Builds a tensor, a strided view of its storage; strides in elements."""
  del unused  # requires_grad and hooks.
  end = (
    offset + 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
  )
  if min((0, offset, *shape, *strides)) < 0 or end > len(storage):
    if 0 in shape:
      return np.empty(shape, storage.dtype)
    raise ValueError(f'A tensor of shape {shape} exceeds its storage.')
  strides = [s * storage.itemsize for s in strides]
  return np.lib.stride_tricks.as_strided(
    storage[offset:], shape, strides
  ).copy()


def _parameter(data: np.ndarray, *unused) -> np.ndarray:
  """Returns the tensor of a torch.nn.Parameter."""
  del unused
  return data
