# SPDX-License-Identifier: Apache-2.0
"""Writes .pth files as `torch.save` does, without torch."""

import collections
import io
import pickle
from typing import ClassVar
import zipfile

import numpy as np


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
    kinds = {np.float32: 'FloatStorage', np.int64: 'LongStorage'}
    self.save_name('torch._utils', '_rebuild_tensor_v2')
    self.write(b'((')
    self.save('storage')
    self.save_name('torch', kinds[storage.dtype.type])
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


def save(path, content):
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
