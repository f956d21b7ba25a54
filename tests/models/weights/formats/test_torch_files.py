# SPDX-License-Identifier: Apache-2.0
"""Reading files of torch.save, of any age, without executing them."""

import os
import pickle
import zipfile

import numpy as np
import pytest

from flatten_jax.models.weights import file_formats
from flatten_jax.models.weights.formats import torch_files
from tests.support import torch_writer
from tests.support.weight_writer import Call

WRITERS = (torch_writer.write, torch_writer.write_before_1_6)


@pytest.mark.parametrize('write', WRITERS)
def test_tensors_may_share_a_storage_and_be_strided(tmp_path, write):
  path = tmp_path / 'x.pth'
  storage = np.arange(12, dtype=np.float32)
  content = {
    'transposed': torch_writer.Tensor(('0', 0, (3, 4), (1, 3))),
    'tail': torch_writer.Tensor(('0', 10, (2,), (1,))),
    'scalar': torch_writer.Tensor(('0', 5, (), ())),
    'empty': torch_writer.Tensor(('0', 0, (0, 3), (3, 1))),
    'of nothing': torch_writer.Tensor(('2', 0, (0, 3), (3, 1))),
    'expanded': torch_writer.Tensor(('1', 0, (2, 3), (0, 0))),
  }
  write(path, content, {'0': storage, '1': np.array([7]), '2': storage[:0]})
  tensors = file_formats.read_tensors(path)
  np.testing.assert_array_equal(tensors['transposed'], storage.reshape(4, 3).T)
  np.testing.assert_array_equal(tensors['tail'], [10, 11])
  assert tensors['scalar'] == 5
  assert tensors['empty'].shape == tensors['of nothing'].shape == (0, 3)
  np.testing.assert_array_equal(tensors['expanded'], np.full((2, 3), 7))


@pytest.mark.parametrize('write', WRITERS)
@pytest.mark.parametrize('dtype', torch_writer.KINDS)
def test_every_type_of_number_is_read_or_named(tmp_path, dtype, write):
  path = tmp_path / 'x.pth'
  values = np.arange(3).astype(dtype)
  torch_writer.save(path, {'model': {'x': values}}, write)
  if dtype is np.complex64 and write is torch_writer.write_before_1_6:
    with pytest.raises(ValueError, match='not of real numbers'):
      file_formats.read_tensors(path)
    return
  found = file_formats.read_tensors(path)['model']['x']
  if dtype is np.complex64:
    assert found.kind == 'ComplexFloatStorage'
  else:
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize('write', WRITERS)
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, write):
  path = tmp_path / 'x.pth'
  content = {'x': torch_writer.Tensor(('0', 1, (12,), (1,)))}
  write(path, content, {'0': np.zeros(12, np.float32)})
  with pytest.raises(ValueError, match=r'x\.pth.* damaged.* size of buffer'):
    file_formats.read_tensors(path)


def write_pickle(path, content):
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('archive/data.pkl', content)


def test_nothing_in_a_file_is_executed(tmp_path):
  path = tmp_path / 'attack.pth'
  attack = Call(os.system, f'touch {tmp_path}/executed')
  write_pickle(path, pickle.dumps({'model': attack}))
  content = file_formats.read_tensors(path)
  assert isinstance(content['model'], torch_files.Placeholder)
  write_pickle(path, pickle.dumps(attack))
  with pytest.raises(ValueError, match=r'holds an object of posix\.system'):
    file_formats.read_tensors(path)
  path.write_bytes(pickle.dumps(attack))
  with pytest.raises(ValueError, match='save it again'):
    file_formats.read_tensors(path)
  assert not (tmp_path / 'executed').exists()


@pytest.mark.parametrize(
  'function',
  [
    '_rebuild_qtensor',
    '_rebuild_sparse_tensor',
    '_rebuild_meta_tensor_no_storage',
    '_rebuild_tensor_v3',
  ],
)
def test_tensors_without_plain_numbers_are_named(tmp_path, function):
  path = tmp_path / 'x.pth'
  call = f'ctorch._utils\n{function}\n(tR'.encode()
  write_pickle(path, b'(dVx\n' + call + b's.')
  assert file_formats.read_tensors(path)['x'].kind == function


def test_objects_around_the_weights_do_not_matter(tmp_path):
  path = tmp_path / 'x.pth'
  config = b'ctorch\nfloat32\n'  # A key of a dict.
  namespace = b'(cargparse\nNamespace\no}(Vlr\nI1\nub'
  write_pickle(path, b'(dVargs\n' + namespace + b's' + config + b'I1\ns.')
  assert len(file_formats.read_tensors(path)) == 2


@pytest.mark.parametrize(
  ('names', 'text'),
  [
    (('readme.txt',), 'not from PyTorch'),
    (('net/data.pkl', 'net/constants.pkl'), r'torch\.jit\.load\('),
  ],
)
def test_other_archives_are_refused_with_advice(tmp_path, names, text):
  path = tmp_path / 'old.pth'
  with zipfile.ZipFile(path, 'w') as archive:
    for name in names:
      archive.writestr(name, b'N.')
  with pytest.raises(ValueError, match=text):
    file_formats.read_tensors(path)


def test_a_whole_model_is_refused_with_advice(tmp_path):
  path = tmp_path / 'x.pth'
  write_pickle(path, b'ctorchvision.models.resnet\nResNet\n)\x81}b.')
  text = r'torchvision\.models\.resnet\.ResNet.*\.state_dict\(\)'
  with pytest.raises(ValueError, match=text):
    file_formats.read_tensors(path)
