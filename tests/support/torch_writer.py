# SPDX-License-Identifier: Apache-2.0
"""Writes .pth files as `torch.save` does, without torch."""

import collections
import io
import pickle
import struct
from typing import ClassVar
import zipfile

import ml_dtypes
import numpy as np

KINDS = {
  np.float32: 'FloatStorage',
  np.float16: 'HalfStorage',
  ml_dtypes.bfloat16: 'BFloat16Storage',
  np.float64: 'DoubleStorage',
  np.int64: 'LongStorage',
  np.int8: 'CharStorage',
  np.complex64: 'ComplexFloatStorage',
}


class Tensor(tuple):
  """A tensor of a .pth file: (storage, offset, shape, strides)."""


class TorchPickler(pickle._Pickler):
  """Pickles a `Tensor` as torch.save does; `storages` are arrays by key."""

  dispatch: ClassVar = dict(pickle._Pickler.dispatch)

  def __init__(self, file, storages):
    super().__init__(file, protocol=2)
    self.storages = storages

  def save_name(self, module, name):
    self.write(f'c{module}\n{name}\n'.encode())

  def save_tensor(self, tensor):
    key, *view = tensor
    storage = self.storages[key]
    self.save_name('torch._utils', '_rebuild_tensor_v2')
    self.write(b'((')
    self.save('storage')
    self.save_name('torch', KINDS[storage.dtype.type])
    for item in (key, 'cpu', len(storage)):
      self.save(item)
    self.write(b'tQ')  # The tuple, as a persistent id.
    for item in (*view, False, collections.OrderedDict()):
      self.save(item)
    self.write(b'tR')  # The tuple, as arguments of a call.

  dispatch[Tensor] = save_tensor


def write(path, content, storages):
  """Writes `content`, with `Tensor`s on the given storages."""
  buffer = io.BytesIO()
  TorchPickler(buffer, storages).dump(content)
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('archive/data.pkl', buffer.getvalue())
    for key, storage in storages.items():
      archive.writestr(f'archive/data/{key}', storage.tobytes())


def write_before_1_6(path, content, storages):
  """Writes what `torch.save` wrote before PyTorch 1.6: pickles, then bytes."""
  with open(path, 'wb') as file:
    for value in (0x1950A86A20F9469CFC6C, 1001, {'little_endian': True}):
      pickle.dump(value, file, 2)
    TorchPickler(file, storages).dump(content)
    pickle.dump(sorted(storages), file, 2)
    for key in sorted(storages):
      file.write(
        struct.pack('<q', len(storages[key])) + storages[key].tobytes()
      )


def save(path, content, write=write):
  """Writes nested dicts with arrays, each on its own storage."""
  storages = {}

  def tensors(value):
    if isinstance(value, dict):
      return {key: tensors(item) for key, item in value.items()}
    if not isinstance(value, np.ndarray):
      return value
    value = np.ascontiguousarray(value)
    key = str(len(storages))
    storages[key] = value.reshape(-1)
    strides = tuple(s // value.itemsize for s in value.strides)
    return Tensor((key, 0, value.shape, strides[: value.ndim]))

  write(path, tensors(content), storages)
