# SPDX-License-Identifier: Apache-2.0
"""Whether a saved folder still holds what was written into it.

Orbax notices files that are cut short, but not all that changed: a flipped bit
in the data of an array gives other weights and no error. So a checkpoint keeps
the size and the CRC-32 of each of its files.
"""

import json
import os
import pathlib
import zlib

FILE = 'checksums.json'
CHUNK = 1 << 22  # Bytes read at a time.
# Orbax writes these after the folder is sealed, and reads nothing from them.
UNCHECKED = ('_CHECKPOINT_METADATA', 'commit_success.txt')


def write_checksums(folder: pathlib.Path) -> None:
  """Writes checksums of all files, and sees to it that all is on the disk.

  Without that, files may lose their contents in a power cut, not their names.
  """
  checksums = {}
  for file in sorted(folder.rglob('*')):
    _sync(file)
    if file.is_file() and file.name not in UNCHECKED:
      name = file.relative_to(folder).as_posix()
      checksums[name] = {'bytes': file.stat().st_size, 'crc32': crc32(file)}
  path = folder / FILE
  path.write_text(json.dumps(checksums, indent=1) + '\n')
  _sync(path)
  _sync(folder)


def find_corruption(folder: pathlib.Path) -> str | None:
  """What is wrong with a sealed folder; None where nothing is known to be.

  Of a folder that `seal` was not called on, nothing is known.
  """
  path = folder / FILE
  if not path.exists():
    return None
  try:
    checksums = json.loads(path.read_bytes())
    pairs = [(n, c['bytes'], c['crc32']) for n, c in checksums.items()]
  except (ValueError, KeyError, TypeError, AttributeError):
    return f'{FILE} is no list of checksums'
  for name, size, checksum in pairs:
    file = folder / name
    if not file.exists():
      return f'{name} is missing'
    if file.stat().st_size != size:
      return f'{name} has {file.stat().st_size} bytes instead of {size}'
    if crc32(file) != checksum:
      return f'{name} has other contents than were written'
  return None


def has_checksums(folder: pathlib.Path) -> bool:
  """Whether `damage` can tell of this folder."""
  return (folder / FILE).exists()


def crc32(file: pathlib.Path) -> int:
  """Of the contents of a file, a piece at a time."""
  value = 0
  with file.open('rb') as stream:
    while chunk := stream.read(CHUNK):
      value = zlib.crc32(chunk, value)
  return value


def _sync(path: pathlib.Path) -> None:
  """Returns when a file, or the names in a folder, are on the disk."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
