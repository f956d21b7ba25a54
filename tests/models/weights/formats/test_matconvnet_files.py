# SPDX-License-Identifier: Apache-2.0
"""Reading MatConvNet's networks."""

import numpy as np
import pytest
from scipy import io

from flatten_jax.models.weights import file_formats
from tests.support import weight_writer


def state(side=1):
  rng = np.random.default_rng(0)
  shapes = {'conv1': (4, 3, 7, 7), 'conv5': (8, 4, 3, 3)}
  shapes |= {'fc6': (6, 8 * side**2), 'fc8': (5, 6)}
  tensors = {}
  for name, shape in shapes.items():
    tensors[f'{name}.weight'] = rng.standard_normal(shape).astype(np.float32)
    tensors[f'{name}.bias'] = rng.standard_normal(shape[0]).astype(np.float32)
  return tensors


@pytest.mark.parametrize('side', [1, 6])
@pytest.mark.parametrize('old', [False, True])
def test_layers_get_the_names_and_axes_of_pytorch(tmp_path, old, side):
  path, tensors = tmp_path / 'imagenet-vgg.mat', state(side)
  weight_writer.matconvnet(path, tensors, old)
  found = file_formats.read_tensors(path)
  assert found.keys() == tensors.keys()
  for name, value in tensors.items():
    np.testing.assert_array_equal(found[name], value)


def test_other_files_of_matlab_are_refused(tmp_path):
  path = tmp_path / 'x.mat'
  for content in ({'x': np.ones(2)}, {'layers': {'name': 'a', 'block': {}}}):
    io.savemat(path, content)
    with pytest.raises(ValueError, match=r'x\.mat holds no `layers`'):
      file_formats.read_tensors(path)
  path.write_bytes(b'MATLAB 7.3 MAT-file'.ljust(124) + b'\0\2IM' + bytes(400))
  with pytest.raises(
    ValueError, match=r"HDF5\. In MATLAB: save\(\.\.\., '-v7'"
  ):
    file_formats.read_tensors(path)
