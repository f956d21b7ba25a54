# SPDX-License-Identifier: Apache-2.0
"""Files of weights by any name, in one part or several, and other files."""

import json

import numpy as np
import pytest

from flatten_jax.models.weights import file_formats
from tests.support import torch_writer

safetensors = pytest.importorskip('safetensors.numpy')
TENSORS = {name: np.full(2, i, np.float32) for i, name in enumerate('abcd')}


def save(path, tensors=TENSORS):
  if path.suffix == '.safetensors':
    safetensors.save_file(tensors, path, {'format': 'pt'})
  else:
    torch_writer.save(path, tensors)
  return path


def assert_complete(path):
  found = file_formats.read_tensors(path)
  assert found.keys() == TENSORS.keys()
  for name, value in TENSORS.items():
    np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize('written', ['x.safetensors', 'x.pth'])
@pytest.mark.parametrize('name', ['y.pth', 'y.safetensors', 'y.ckpt', 'y'])
def test_the_content_counts_not_the_name(tmp_path, written, name):
  assert_complete(save(tmp_path / written).rename(tmp_path / name))


def shards(folder, suffix, index=True):
  stem = 'model' if suffix == 'safetensors' else 'pytorch_model'
  places = {}
  for i, name in enumerate(TENSORS):
    file = f'{stem}-{i % 2 + 1:05}-of-00002.{suffix}'
    places[name] = file
    save(folder / file, {k: TENSORS[k] for k in list(TENSORS)[i % 2 :: 2]})
  if index:
    text = json.dumps({'metadata': {'total_size': 1}, 'weight_map': places})
    (folder / f'{stem}.{suffix}.index.json').write_text(text)
  return sorted(folder.iterdir())


@pytest.mark.parametrize('index', [True, False])
@pytest.mark.parametrize('suffix', ['safetensors', 'bin'])
def test_a_checkpoint_of_several_files_is_read_whole(tmp_path, suffix, index):
  files = shards(tmp_path, suffix, index)
  for path in (tmp_path, *files):
    assert_complete(path)
  files[0].unlink()
  for path in (tmp_path, *files[1:]):
    with pytest.raises(ValueError, match=rf'1 of 2 .*{files[0].name}'):
      file_formats.read_tensors(path)


@pytest.mark.parametrize(
  'text', ['', '[]', '{}', '{"weight_map": {"a": "../x.safetensors"}}']
)
def test_a_wrong_index_is_refused(tmp_path, text):
  (tmp_path / 'model.safetensors.index.json').write_text(text)
  save(tmp_path.parent / 'x.safetensors')
  with pytest.raises(ValueError, match='is not an index of weights'):
    file_formats.read_tensors(tmp_path)


def test_a_folder_stands_for_the_one_file_in_it(tmp_path):
  (tmp_path / 'config.json').write_text('{}')
  with pytest.raises(ValueError, match=r'neither checkpoints .* nor'):
    file_formats.read_tensors(tmp_path)
  assert not file_formats.holds_weights(tmp_path)
  save(tmp_path / 'pytorch_model.bin')
  assert file_formats.holds_weights(tmp_path)
  assert_complete(tmp_path)
  save(tmp_path / 'model.safetensors')  # The same, by habit.
  assert_complete(tmp_path)
  save(tmp_path / 'other.safetensors')
  with pytest.raises(ValueError, match=r'2 files of weights: model\.safe'):
    file_formats.read_tensors(tmp_path)
  (tmp_path / 'checkpoints').mkdir()  # A workdir.
  assert not file_formats.holds_weights(tmp_path)


@pytest.mark.parametrize('length', [0x7B20, 0x5B20, 0x2220])  # ' {', ' [', ' "'
def test_a_length_of_a_header_is_not_taken_for_text(tmp_path, length):
  path = tmp_path / 'x.safetensors'
  header = len(safetensors.save(TENSORS, {'': ''})) - 8 - 8 * len(TENSORS)
  text = ' ' * (length - header)
  path.write_bytes(safetensors.save(TENSORS, {'': text}))
  assert int.from_bytes(path.read_bytes()[:8], 'little') == length
  assert_complete(path)


def test_a_type_that_numpy_lacks_is_named(tmp_path):
  path = tmp_path / 'x.safetensors'
  info = {'dtype': 'F8_E4M3', 'shape': [2], 'data_offsets': [0, 2]}
  header = json.dumps({'x': info}).encode()
  path.write_bytes(len(header).to_bytes(8, 'little') + header + b'ab')
  assert file_formats.read_tensors(path)['x'].kind == 'F8_E4M3'


@pytest.mark.parametrize(
  ('content', 'text'),
  [
    ('', 'is empty'),
    ('version https://git-lfs.github.com/spec/v1\noid', 'git lfs pull'),
    ('\n<!DOCTYPE html><html>quota', 'is a web page'),
    ('<?xml version="1.0"?><Error>AccessDenied', 'is a web page'),
    ('{"error": "Repository not found"}', 'text .*Repository not found'),
    ('Not Found', 'not a checkpoint'),
    ('\x89HDF\r\n', 'Keras'),
  ],
)
@pytest.mark.parametrize('name', ['x.pth', 'x.safetensors'])
def test_what_comes_instead_of_a_checkpoint_is_named(
  tmp_path, name, content, text
):
  path = tmp_path / name
  path.write_text(content, 'latin-1')
  with pytest.raises(ValueError, match=rf'{path} .*{text}'):
    file_formats.read_tensors(path)


@pytest.mark.parametrize('damage', ['truncated', 'flipped', 'cut by a byte'])
@pytest.mark.parametrize('suffix', ['pth', 'old.pth', 'safetensors'])
def test_a_damaged_file_is_refused(tmp_path, damage, suffix):
  path = tmp_path / f'weights.{suffix}'
  if suffix == 'old.pth':
    torch_writer.save(path, TENSORS, torch_writer.write_before_1_6)
  else:
    save(path)
  data = bytearray(path.read_bytes())
  if damage == 'truncated':
    data = data[: len(data) // 2]
  elif damage == 'flipped':  # In the pickle, or in the header.
    data[60:90] = bytes(255 - byte for byte in data[60:90])
  else:
    data = data[:-1]
  path.write_bytes(data)
  with pytest.raises(ValueError, match=f'{path} is incomplete, damaged'):
    file_formats.read_tensors(path)


def test_an_archive_with_a_wrong_table_of_contents_is_refused(tmp_path):
  path = save(tmp_path / 'x.pth')
  data = bytearray(path.read_bytes())
  data[-6:-2] = b'\0\0\0\x7f'  # Its place.
  path.write_bytes(data)
  with pytest.raises(ValueError, match=f'{path} is incomplete, damaged'):
    file_formats.read_tensors(path)
