# SPDX-License-Identifier: Apache-2.0
"""Reads files of weights of any framework, perhaps in shards.

The content of a file decides how it is read, whatever its name is.
"""

from collections.abc import Callable, Mapping
import json
import pathlib
import re
from typing import Any
import zipfile

import numpy as np

from flatten_jax import paths
from flatten_jax.models.weights.formats import (
  caffe2_files,
  caffe_files,
  matconvnet_files,
  tensorflow_files,
  torch_files,
)
from flatten_jax.models.weights.formats.errors import (
  Unreadable,
  UnsuitableFileError,
)

# Suffixes of weights, in the order in which a folder is searched.
SUFFIXES = (
  '.safetensors',
  '.pth',
  '.pt',
  '.bin',
  '.ckpt',
  '.pyth',
  '.pkl',
  '.mat',
  '.caffemodel',
  '.index',
  '.index.json',
)
_SHARD = re.compile(r'(.+)-\d+-of-(\d+)(\.\w+)')
_INDEX = '.index.json'
# First bytes of a mapping in msgpack: of up to 15, 65535 or more entries.
_MSGPACK_MAPS = {bytes([i]) for i in (*range(0x81, 0x90), 0xDE, 0xDF)}
# Fields of a network: its name, layers of before 2015, an input, layers.
_CAFFE = {b'\x0a', b'\x12', b'\x1a', b'\xa2'}
# Highest byte of the header's length, and the start of the header.
_SAFETENSORS = b'\0{'
_OTHER_FILES = {
  rb'$': 'is empty.',
  rb'version https://git-lfs': (
    'is only a pointer of Git LFS to the file; fetch it with `git lfs pull`.'
  ),
  rb'<(!|html|\?xml|head|error)': 'is a web page instead of a checkpoint.',
  rb'[{\["]': 'is text instead of a checkpoint: {!r}',
  rb'\x89HDF': 'is an HDF5 file, of Keras perhaps, not of PyTorch.',
}


def read_tensors(path: str | pathlib.Path) -> Any:
  """Reads the tensors of a checkpoint, in PyTorch's shapes.

  Args:
    path: a .safetensors file, one of torch.save (.pth, .pt, .bin, .ckpt), of
      Flax (`checkpoint`), numpy (.npz), Caffe2 (.pkl), Caffe (.caffemodel),
      MatConvNet (.mat) or TensorFlow (.index); for a checkpoint of several
      files one of them, their index or their folder. Nothing is executed.

  Returns:
    name -> array, perhaps inside of other mappings and lists. A tensor that
    numpy does not represent is an `Unreadable`.

  Raises:
    ValueError: the file does not exist, is damaged or holds something else.
  """
  path = _place(path)
  if path.is_dir():
    path = _file_in(path)
  if not path.is_file():
    raise ValueError(f'The file {path} does not exist.')
  return _read_shards(path) if is_part(path.name) else _read_file(path)


def holds_weights(path: str | pathlib.Path) -> bool:
  """Returns whether a path is a file, or a folder with one, not a workdir."""
  path = _place(path)
  is_run = (path / 'checkpoints').exists()
  return path.is_file() or (not is_run and bool(_files_in(path)))


def read_metadata(path: str | pathlib.Path) -> dict[str, str]:
  """Reads the texts in the header of a safetensors file, without its tensors.

  Args:
    path: of a file, or of a folder with one.

  Returns:
    None of them for other files, and for one that is damaged.
  """
  from safetensors import SafetensorError, safe_open  # Only if needed.

  path = _place(path)
  files = [path] if path.is_file() else _files_in(path)
  if len(files) != 1:
    return {}
  with files[0].open('rb') as file:
    if file.read(9)[7:] != _SAFETENSORS:
      return {}
  try:
    with safe_open(files[0], 'numpy') as tensors:
      return tensors.metadata() or {}
  except SafetensorError:
    return {}  # Loading it will report that.


def is_part(name: str) -> bool:
  """Returns whether a name is of an index or a shard of a checkpoint."""
  return name.endswith(_INDEX) or bool(_SHARD.fullmatch(name))


def _place(path: str | pathlib.Path) -> pathlib.Path:
  """Returns a path; for a name of TensorFlow's without one, that of its index.

  `x` and `x.data-00000-of-00001` stand for `x.index`.
  """
  path = paths.expand(path)
  name = re.sub(r'(\.data-\d+-of-\d+)?$', '.index', path.name, count=1)
  index = path.with_name(name) if path.name else path
  other = not path.exists() or '.data-' in path.name
  return index if other and index.is_file() else path


def _files_in(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns indices and files of weights, of the first kind that is there."""
  for suffix in (f'.safetensors{_INDEX}', f'.bin{_INDEX}', *SUFFIXES[:-1]):
    if files := sorted(folder.glob(f'*{suffix}')):
      return files
  return []


def _file_in(folder: pathlib.Path) -> pathlib.Path:
  """Returns the one file of weights, or an index or a shard, of a folder."""
  files = _files_in(folder)
  if len({_SHARD.sub(r'\1', file.name) for file in files}) == 1:
    return files[0]
  if files:
    names = ', '.join(file.name for file in files[:5])
    text = f'contains {len(files)} files of weights: {names}. Name one.'
  else:
    kinds = ', '.join(SUFFIXES)
    text = f'contains neither checkpoints of a run nor weights ({kinds}).'
  raise ValueError(f'{folder} {text}')


def _read_shards(path: pathlib.Path) -> dict[str, Any]:
  """Reads all files of one checkpoint, given its index or one of them."""
  if match := _SHARD.fullmatch(path.name):
    stem, total, suffix = match.groups()
    shards = [
      path.with_name(f'{stem}-{i + 1:0{len(total)}}-of-{total}{suffix}')
      for i in range(int(total))
    ]
  else:
    try:
      names = set(json.loads(path.read_text())['weight_map'].values())
      shards = [path.with_name(name) for name in sorted(names)]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
      raise ValueError(
        f'{path} is not an index of weights: {error!r}.'
      ) from error
  if missing := [shard.name for shard in shards if not shard.is_file()]:
    raise ValueError(
      f'{len(missing)} of {len(shards)} files of a checkpoint are missing in '
      f'{shards[0].parent}: {", ".join(missing[:5])}.'
    )
  tensors = {}
  for shard in shards:
    tensors |= _read_file(shard)
  return tensors


def _read_file(path: pathlib.Path) -> Any:
  with path.open('rb') as file:
    start = file.read(200)
  try:
    if start[7:9] == _SAFETENSORS:
      return _read_safetensors(path)
    refuse_other_files(start)
    return _reader(path, start)(path)
  except UnsuitableFileError as error:
    raise ValueError(f'{path} {error}') from error
  except Exception as error:  # A damaged file may raise anything.
    raise ValueError(
      f'{path} is incomplete, damaged or not a checkpoint; fetch it again. '
      f'({type(error).__name__}: {error})'
    ) from error


def _reader(path: pathlib.Path, start: bytes) -> Callable[[pathlib.Path], Any]:
  """Returns what reads a file, given its first bytes."""
  if start[:1] in _MSGPACK_MAPS:
    return _read_flax
  if _is_npz(path):
    return lambda path: dict(np.load(path, allow_pickle=False))
  if torch_files.wrote(path):
    return torch_files.read
  if start.startswith(matconvnet_files.START):
    return matconvnet_files.read
  if tensorflow_files.is_index(path):
    return tensorflow_files.read
  return caffe_files.read if start[:1] in _CAFFE else caffe2_files.read


def _is_npz(path: pathlib.Path) -> bool:
  """Returns whether a file is an archive of arrays."""
  if not zipfile.is_zipfile(path):
    return False
  with zipfile.ZipFile(path) as archive:
    names = archive.namelist()
  return bool(names) and all(name.endswith('.npy') for name in names)


def _read_flax(path: pathlib.Path) -> dict[str, Any]:
  """Reads the parameters of a checkpoint of Flax, by their dotted names."""
  from flax import serialization, traverse_util  # Imported only if needed.

  tree = serialization.msgpack_restore(path.read_bytes())
  names = traverse_util.flatten_dict(tree, sep='.')
  tensors = {k: v for k, v in names.items() if hasattr(v, 'shape')}
  # The optimizer's moments have the parameters' names.
  learned = {
    name: value
    for name, value in tensors.items()
    if re.match(r'(optimizer\.target|params|ema_params)\.', name)
  }
  return learned or tensors


def refuse_other_files(start: bytes) -> None:
  """Refuses, by its first bytes, what comes instead of a checkpoint.

  Raises:
    UnsuitableFileError: its text continues a sentence after the file's name.
  """
  if start[7:9] == _SAFETENSORS:  # Its length may look like the start of text.
    return
  for pattern, text in _OTHER_FILES.items():
    if re.match(rb'(\xef\xbb\xbf)?\s*' + pattern, start, re.IGNORECASE):
      raise UnsuitableFileError(text.format(start.decode(errors='replace')))


def _read_safetensors(path: pathlib.Path) -> Mapping[str, Any]:
  from safetensors import safe_open  # Imported only if needed.

  tensors = {}
  with safe_open(path, 'numpy') as file:
    for name in file.keys():  # noqa: SIM118  It is not a mapping.
      try:
        tensors[name] = file.get_tensor(name)
      except (AttributeError, KeyError, TypeError):  # Numpy has no such type.
        kind = file.get_slice(name).get_dtype()
        tensors[name] = Unreadable(kind)
  return tensors
