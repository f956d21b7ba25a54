# SPDX-License-Identifier: Apache-2.0
"""Reading checkpoints of TensorFlow without it."""

import struct

import numpy as np
import pytest

from flatten_jax.models.weights import file_formats
from tests.support import weight_writer

TENSORS = {
  f'net/block_{i}/{part}': np.full((i + 1, 2), i, np.float32)
  for i in range(30)
  for part in ('w', 'w/Momentum')
} | {'global_step': np.array(7), 'net/b': np.zeros(0, np.float64)}


@pytest.fixture
def checkpoint(tmp_path):
  path = tmp_path / 'model.ckpt.index'
  weight_writer.tensorflow(path, TENSORS)
  return path


def test_all_tensors_are_read_from_several_blocks(checkpoint):
  prefix = checkpoint.with_suffix('')
  data = checkpoint.with_name('model.ckpt.data-00000-of-00001')
  for path in (checkpoint, checkpoint.parent, prefix, data):
    assert file_formats.holds_weights(path)
    found = file_formats.read_tensors(path)
    assert found.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
      assert found[name].dtype == value.dtype
      np.testing.assert_array_equal(found[name], value)


def test_a_type_that_is_not_of_numbers_is_named(tmp_path):
  path = tmp_path / 'x.index'
  weight_writer.tensorflow(path, {'text': np.zeros(2)}, {'float64': 7})
  assert file_formats.read_tensors(path)['text'].kind.startswith('type 7')


def test_missing_tensors_are_named(checkpoint):
  (checkpoint.parent / 'model.ckpt.data-00000-of-00001').unlink()
  text = r'is an index; model\.ckpt\.data-00000-of-00001, .*, is missing'
  with pytest.raises(ValueError, match=text):
    file_formats.read_tensors(checkpoint)


def test_truncated_tensors_are_refused(checkpoint):
  path = checkpoint.parent / 'model.ckpt.data-00000-of-00001'
  path.write_bytes(path.read_bytes()[:-4])
  with pytest.raises(ValueError, match='is incomplete, damaged'):
    file_formats.read_tensors(checkpoint)


def test_a_compressed_table_is_another_file(checkpoint):
  data = bytearray(checkpoint.read_bytes())
  footer = data[-48:]
  start = footer[1:].index(0)  # Any place will do: all have kind 1 now.
  assert start
  for i in range(len(data) - 48):
    data[i] = 1 if data[i] == 0 and data[i + 1 : i + 5] == bytes(4) else data[i]
  checkpoint.write_bytes(data)
  with pytest.raises(ValueError, match='compressed table of LevelDB'):
    file_formats.read_tensors(checkpoint)


def test_a_wrong_size_is_refused(tmp_path):
  path = tmp_path / 'x.index'
  weight_writer.tensorflow(path, {'x': np.zeros(2, np.float32)})
  data = path.read_bytes()
  size = weight_writer.field(5, 8)
  assert data.count(size) == 1
  path.write_bytes(data.replace(size, weight_writer.field(5, 4)))
  with pytest.raises(ValueError, match='not the size of a tensor'):
    file_formats.read_tensors(path)
  assert struct.unpack('<Q', data[-8:])[0] == 0xDB4775248B80FB57
