# SPDX-License-Identifier: Apache-2.0
"""Reading Caffe2's pickles of arrays, and refusing all others."""

import collections
import os
import pickle

import numpy as np
import pytest

from flatten_jax.models.weights import file_formats
from tests.support import weight_writer
from tests.support.weight_writer import Call

BLOBS = {
  'conv1_w': np.arange(24, dtype=np.float32).reshape(2, 3, 1, 2, 2),
  'turned': np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
  'big_endian': np.arange(3, dtype='>f4'),
  'long': np.linspace(-1, 1, 300, dtype=np.float32),  # All 256 bytes.
  'model_iter': np.array([7]),
}


@pytest.mark.parametrize('python', [2, 3])
def test_arrays_are_read_as_they_were(tmp_path, python):
  path = tmp_path / 'x.pkl'
  weight_writer.caffe2(path, BLOBS, python)
  found = file_formats.read_tensors(path)['blobs']
  assert found.keys() == BLOBS.keys()
  for name, value in BLOBS.items():
    assert found[name].dtype.kind == value.dtype.kind
    np.testing.assert_array_equal(found[name], value)


def test_a_file_as_python_2_wrote_it_byte_by_byte(tmp_path):
  values = np.arange(6, dtype='<f4')
  (tmp_path / 'x.pkl').write_bytes(
    b'\x80\x02}q\x01U\x05blobsq\x02}q\x03U\x07conv1_wq\x04'
    b'cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06'
    b'K\x00\x85q\x07U\x01bq\x08\x87q\tRq\n(K\x01K\x02K\x03\x86q\x0b'
    b'cnumpy\ndtype\nq\x0cU\x02f4q\rK\x00K\x01\x87q\x0eRq\x0f'
    b'(K\x03U\x01<q\x10NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x11b'
    b'\x89U\x18' + values.tobytes() + b'q\x12tq\x13bss.'
  )
  found = file_formats.read_tensors(tmp_path / 'x.pkl')['blobs']['conv1_w']
  np.testing.assert_array_equal(found, values.reshape(2, 3))


@pytest.mark.parametrize('protocol', range(6))
@pytest.mark.parametrize(
  ('content', 'name'),
  [
    (Call(os.system, 'touch {}'), r'(posix|nt)\.system'),
    (Call(eval, 'open("{}", "w")'), r'(builtins|__builtin__)\.eval'),
    (Call(np.fromfile, '{}'), r'numpy.*fromfile'),
    (collections.OrderedDict(a=1), r'collections\.OrderedDict'),
  ],
)
def test_a_pickle_of_other_things_is_refused_before_it_runs(
  tmp_path, content, name, protocol
):
  path, mark = tmp_path / 'x.pkl', tmp_path / 'executed'
  if isinstance(content, Call):
    function, text = content.call[0], content.call[1][0]
    content = Call(function, text.format(mark))
  path.write_bytes(pickle.dumps({'blobs': {'w': content}}, protocol))
  with pytest.raises(ValueError, match=rf'x\.pkl .* asks for {name};'):
    file_formats.read_tensors(path)
  assert not mark.exists()


def test_a_damaged_pickle_is_refused(tmp_path):
  path = tmp_path / 'x.pkl'
  weight_writer.caffe2(path, BLOBS)
  path.write_bytes(path.read_bytes()[:-300])
  with pytest.raises(ValueError, match='is incomplete, damaged'):
    file_formats.read_tensors(path)
