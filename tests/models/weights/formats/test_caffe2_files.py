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


def test_the_files_of_python_2_have_strings_of_bytes(tmp_path):
  weight_writer.caffe2(tmp_path / 'x.pkl', {'a': np.ones(2)}, 2)
  data = (tmp_path / 'x.pkl').read_bytes()
  assert data.startswith(b'\x80\x02}q\x00U\x05blobs')
  assert b'numpy.core.multiarray\n_reconstruct' in data
  assert b'U\x10' + np.ones(2).tobytes() in data


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
