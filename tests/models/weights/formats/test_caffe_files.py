# SPDX-License-Identifier: Apache-2.0
"""Reading networks of Caffe, of today and of before 2015."""

import numpy as np
import pytest

from flatten_jax.models.weights import file_formats
from tests.support import weight_writer
from tests.support.weight_writer import field

STATE = {
  'conv1/7x7.weight': np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
  'conv1/7x7.bias': np.array([1, 2], np.float32),
  'conv1/7x7_bn.weight': np.array([3, 4], np.float32),
  'conv1/7x7_bn.bias': np.array([5, 6], np.float32),
  'conv1/7x7_bn.running_mean': np.array([7, 8], np.float32),
  'conv1/7x7_bn.running_var': np.array([9, 10], np.float32),
  'fc.weight': np.arange(6, dtype=np.float32).reshape(3, 2),
  'fc.bias': np.zeros(3, np.float32),
}


@pytest.mark.parametrize('old', [False, True])
def test_layers_get_the_names_of_pytorch(tmp_path, old):
  path = tmp_path / 'x.caffemodel.v5'
  weight_writer.caffe(path, STATE, old)
  found = file_formats.read_tensors(path)
  assert found.keys() == {name.replace('/', '_') for name in STATE}
  for name, value in STATE.items():
    np.testing.assert_array_equal(found[name.replace('/', '_')], value)


def network(*arrays):
  layer = field(1, b'x') + b''.join(field(7, blob) for blob in arrays)
  return field(1, b'net') + field(100, layer)


@pytest.mark.parametrize('number', [5, 8])
def test_numbers_may_be_doubles_or_come_one_by_one(tmp_path, number):
  path = tmp_path / 'x'
  values = np.arange(3, dtype='<f4' if number == 5 else '<f8')
  key = bytes([8 * number + (5 if number == 5 else 1)])
  apart = b''.join(key + value.tobytes() for value in values)
  shape = field(7, b''.join(field(1, n) for n in (3,)))  # Not packed either.
  for data in (apart, field(number, values.tobytes())):
    path.write_bytes(network(shape + data))
    found = file_formats.read_tensors(path)['x.weight']
    np.testing.assert_array_equal(found, values)


def test_arrays_of_other_layers_have_numbers(tmp_path):
  blob = field(7, field(1, 1)) + field(5, bytes(4))
  (tmp_path / 'x').write_bytes(network(blob, blob, blob))
  found = file_formats.read_tensors(tmp_path / 'x')
  assert found.keys() == {'x.0', 'x.1', 'x.2'}


@pytest.mark.parametrize('length', [4, 60, -1])
def test_a_truncated_network_is_refused(tmp_path, length):
  path = tmp_path / 'x.caffemodel'
  weight_writer.caffe(path, STATE)
  path.write_bytes(path.read_bytes()[:length])
  with pytest.raises(ValueError, match='is incomplete, damaged'):
    file_formats.read_tensors(path)


def test_what_is_not_a_protocol_buffer_is_refused(tmp_path):
  (tmp_path / 'x').write_bytes(b'\n\x01a\x0b')  # A kind that is not in use.
  with pytest.raises(ValueError, match='unknown kind'):
    file_formats.read_tensors(tmp_path / 'x')
