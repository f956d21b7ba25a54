# SPDX-License-Identifier: Apache-2.0
"""Writes weights as Caffe2, Caffe and TensorFlow do, without them."""

import math
import pickle
import struct
from typing import ClassVar

import numpy as np


class Call:
  """Pickles as a call of a function."""

  def __init__(self, function, *args):
    self.call = function, args

  def __reduce__(self):
    return self.call


class Python2Pickler(pickle._Pickler):
  """Pickles in protocol 2 as Python 2 did: text is a string of bytes."""

  dispatch: ClassVar = dict(pickle._Pickler.dispatch)

  def save_bytes(self, text):
    data = text.encode('latin1') if isinstance(text, str) else text
    short = len(data) < 256
    size = bytes([len(data)]) if short else struct.pack('<i', len(data))
    self.write((pickle.SHORT_BINSTRING if short else pickle.BINSTRING) + size)
    self.write(data)
    self.memoize(text)

  def save_global(self, obj, name=None):
    if obj is np.empty(0).__reduce__()[0]:  # By its name in old versions.
      self.write(b'cnumpy.core.multiarray\n_reconstruct\n')
    else:
      super().save_global(obj, name)

  dispatch[str] = dispatch[bytes] = save_bytes
  dispatch[type(np.empty(0).__reduce__()[0])] = save_global


def caffe2(path, blobs, python=2):
  """Writes a .pkl file of Caffe2, by Python 2 or 3."""
  with open(path, 'wb') as file:
    make = Python2Pickler if python == 2 else pickle.Pickler
    make(file, protocol=2).dump({'blobs': blobs})


def varint(number):
  data = bytearray()
  while number > 127:
    data.append(number & 127 | 128)
    number >>= 7
  return bytes([*data, number])


def field(number, value):
  """A field of a protocol buffer: a whole number, or bytes."""
  if isinstance(value, int):
    return varint(8 * number) + varint(value)
  return varint(8 * number + 2) + varint(len(value)) + value


def caffe(path, state, old=False):
  """Writes a .caffemodel file, of now or of before 2015, from PyTorch's."""
  layers = {}
  for part in ('weight', 'bias', 'running_mean', 'running_var'):
    for key, value in state.items():
      name, _, end = key.rpartition('.')
      if end == part:
        layers.setdefault(name, []).append(value)
  layers_field, name_field, array_field = (2, 4, 6) if old else (100, 1, 7)
  network = field(1, b'net') + field(3, b'data')
  for name, arrays in layers.items():
    layer = field(name_field, name.encode())
    for x in arrays:
      if old:
        shape = (*(1,) * (4 - x.ndim), *x.shape)
        blob = b''.join(field(i, n) for i, n in enumerate(shape, start=1))
      else:
        dims = b''.join(varint(n) for n in x.shape)
        blob = field(7, field(1, dims))
      layer += field(array_field, blob + field(5, x.astype('<f4').tobytes()))
    network += field(layers_field, layer)
  path.write_bytes(network)


def tensorflow(path, tensors, kinds=None):
  """Writes `path`, an index, and the tensors beside it."""
  kinds = {'float32': 1, 'int64': 9, 'float64': 2} | (kinds or {})
  entries, offset = [(b'', field(1, 1))], 0
  data = path.with_name(f'{path.stem}.data-00000-of-00001')
  with data.open('wb') as file:
    for name in sorted(tensors):
      x = tensors[name]
      shape = b''.join(field(2, field(1, n)) for n in x.shape)
      entry = field(1, kinds[str(x.dtype)]) + field(2, shape)
      entry += field(4, offset) + field(5, x.nbytes)
      entries.append((name.encode(), entry))
      offset += file.write(x.tobytes())
  table, handles = b'', []
  for i in range(0, len(entries), 20):  # Blocks of 20 entries.
    part = entries[i : i + 20]
    handles.append((part[-1][0], varint(len(table))))
    part, handle = block(part), handles.pop()
    handles.append((handle[0], handle[1] + varint(len(part) - 5)))
    table += part
  footer = b''
  for part in (block([]), block(handles)):
    footer += varint(len(table)) + varint(len(part) - 5)
    table += part
  magic = 0xDB4775248B80FB57
  path.write_bytes(table + footer.ljust(40, b'\0') + struct.pack('<Q', magic))


def block(entries):
  """A block of a table: keys without what they share with the last one."""
  data, last = b'', b''
  for key, value in entries:
    equal = [a == b for a, b in zip(key, last, strict=False)]
    shared = [*equal, False].index(False)
    for number in (shared, len(key) - shared, len(value)):
      data += varint(number)
    data, last = data + key[shared:] + value, key
  return data + struct.pack('<2I', 0, 1) + b'\0' + bytes(4)  # And a checksum.


def matconvnet(path, state, old=False):
  """Writes a .mat file of MatConvNet, from PyTorch's names and axes."""
  from scipy import io

  layers = []
  for name in dict.fromkeys(key.partition('.')[0] for key in state):
    kernel, bias = state[f'{name}.weight'], state[f'{name}.bias']
    if name == 'fc6':
      side = math.isqrt(kernel.shape[1] // state['conv5.bias'].size)
      kernel = kernel.reshape(len(kernel), -1, side, side)
    kernel = kernel.reshape(*kernel.shape, *(1,) * (4 - kernel.ndim))
    values = [kernel.transpose(2, 3, 1, 0), bias[None]]
    cell = np.empty((1, 2), object)
    cell[0, 0], cell[0, 1] = values
    layer = {'name': name, 'type': 'conv'}
    layer |= (
      dict(zip(('filters', 'biases'), values, strict=True))
      if old
      else {'weights': cell}
    )
    layers += [layer, {'name': f'relu{name[-1]}', 'type': 'relu'}]
  row = np.empty((1, len(layers)), object)
  row[0] = layers
  mean = {'averageImage': np.zeros((2, 2, 3))}
  io.savemat(path, {'layers': row, 'meta': {'normalization': mean}})
