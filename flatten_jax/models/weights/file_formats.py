# SPDX-License-Identifier: Apache-2.0
"""Reads the tensors of a PyTorch checkpoint, without PyTorch and without trust.

A .pth file is a zip archive: a pickle that describes the tensors, and one file
of raw bytes for each storage. A pickle may name any function to be called; here
it gets tensors and ordered dictionaries, and a hollow object for all else.
"""

import collections
from collections.abc import Mapping
import pathlib
import pickle
import zipfile

import ml_dtypes
import numpy as np

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
# Where training programs put the weights, among an optimizer's state and more.
_NESTED = ('model', 'state_dict', 'model_state')


def read_tensors(path: str | pathlib.Path) -> dict[str, np.ndarray]:
  """The named tensors of a .safetensors, .pth or .pt file, in PyTorch's shapes.

  Args:
    path: the file; a .pth may hold the tensors themselves or have them under
      'model', 'state_dict' or 'model_state'. Nothing in it is executed.

  Returns:
    name -> array; a leading 'module.' (from data-parallel training) is dropped.

  Raises:
    ValueError: where the file holds something else.
  """
  path = pathlib.Path(path).expanduser()
  if not path.is_file():
    raise ValueError(f'There is no file {path}.')
  try:
    if path.suffix == '.safetensors':
      from safetensors.numpy import load_file  # Imported where it is needed.

      tensors = load_file(path)
    else:
      tensors = _weights(_read_archive(path), path)
  except (ValueError, OSError):
    raise
  except Exception as error:  # Whatever a damaged file makes its reader raise.
    raise ValueError(
      f'{path} is damaged or no checkpoint ({type(error).__name__}: {error}); '
      'fetch it again.'
    ) from error
  return {name.removeprefix('module.'): x for name, x in tensors.items()}


def _weights(content: object, path: pathlib.Path) -> dict[str, np.ndarray]:
  """Finds the state dict in what the file holds."""
  for key in _NESTED:
    if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
      content = content[key]
      break
  found = {}
  if isinstance(content, Mapping):
    found = {k: v for k, v in content.items() if isinstance(v, np.ndarray)}
  if not found:
    raise ValueError(
      f'{path} holds no named tensors, neither at the top nor under '
      f'{", ".join(map(repr, _NESTED))}.'
    )
  return found


def _read_archive(path: pathlib.Path) -> object:
  """The content of a .pth file, with numpy arrays for tensors."""
  if not zipfile.is_zipfile(path):
    raise ValueError(
      f'{path} is no checkpoint as PyTorch 1.6 and later write it (a zip '
      'archive); load it in PyTorch and save it again, best as safetensors.'
    )
  with zipfile.ZipFile(path) as archive:
    pickles = [n for n in archive.namelist() if n.endswith('/data.pkl')]
    if len(pickles) != 1:
      raise ValueError(f'{path} is a zip archive, but no PyTorch checkpoint.')
    with archive.open(pickles[0]) as file:
      folder = pickles[0].removesuffix('data.pkl')
      return _TensorUnpickler(file, archive, folder).load()


class _TensorUnpickler(pickle.Unpickler):
  """An unpickler that can build tensors and containers, and nothing else."""

  def __init__(self, file, archive: zipfile.ZipFile, folder: str):
    super().__init__(file)
    self.archive = archive
    self.folder = folder

  def find_class(self, module: str, name: str) -> object:
    """The few classes that weights need; a hollow one instead of any other."""
    if module == 'torch' and name in _STORAGES:
      return _STORAGES[name]
    if (module, name) == ('collections', 'OrderedDict'):
      return collections.OrderedDict
    if (module, name) == ('torch._utils', '_rebuild_tensor_v2'):
      return _tensor
    if (module, name) == ('torch._utils', '_rebuild_parameter'):
      return _parameter
    return _Hollow  # An argparse.Namespace, an optimizer: not ours to run.

  def persistent_load(self, pid: tuple) -> np.ndarray:
    _, dtype, key, _, _ = pid
    if not (isinstance(dtype, type) and issubclass(dtype, np.generic)):
      raise ValueError(f'A tensor has the unknown storage type {dtype}.')
    return np.frombuffer(self.archive.read(f'{self.folder}data/{key}'), dtype)


class _Hollow:
  """Stands for an object of a class that is not built; keeps no state."""

  def __init__(self, *args, **kwargs):
    del args, kwargs

  def __setstate__(self, state):
    del state


def _tensor(storage, offset, shape, strides, *unused) -> np.ndarray:
  """A tensor: a strided window on its storage. Strides count elements."""
  del unused  # Whether it wants a gradient, and its hooks.
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
  """A torch.nn.Parameter is its tensor."""
  del unused
  return data
