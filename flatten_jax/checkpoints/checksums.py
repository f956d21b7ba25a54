# SPDX-License-Identifier: Apache-2.0
"""Checksums that detect damaged checkpoints.

Orbax notices truncated files, but reads a flipped bit in an array as another
weight. So a checkpoint contains the size and CRC-32 of each of its files.
"""

import json
import os
import pathlib
import zlib

FILE = 'checksums.json'
# Orbax writes these after the checksums, and reads nothing from them.
UNCHECKED = ('_CHECKPOINT_METADATA', 'commit_success.txt')


def write_checksums(folder: pathlib.Path) -> None:
  """Writes checksums of all files and flushes the folder to the disk.

  Without the flush, a power cut may leave files with names but no contents.
  """
  checksums = {}
  for file in sorted(folder.rglob('*')):
    _flush(file)
    if file.is_file() and file.name not in UNCHECKED:
      checksums[file.relative_to(folder).as_posix()] = _checksum(file)
  path = folder / FILE
  path.write_text(json.dumps(checksums, indent=1) + '\n')
  _flush(path)
  _flush(folder)


def find_corruption(folder: pathlib.Path) -> str | None:
  """Returns what is damaged; None for an intact folder or one unchecked."""
  if not has_checksums(folder):
    return None
  try:
    checksums = json.loads((folder / FILE).read_bytes()).items()
  except (ValueError, AttributeError):
    return f'{FILE} is damaged'
  for name, expected in checksums:
    if not (folder / name).is_file():
      return f'{name} is missing'
    if _checksum(folder / name) != expected:
      return f'{name} has changed since it was written'
  return None


def has_checksums(folder: pathlib.Path) -> bool:
  """Returns whether `find_corruption` can check the folder."""
  return (folder / FILE).exists()


def _checksum(file: pathlib.Path) -> dict[str, int]:
  crc = 0
  with file.open('rb') as stream:
    while chunk := stream.read(1 << 22):
      crc = zlib.crc32(chunk, crc)
  return {'bytes': file.stat().st_size, 'crc32': crc}


def _flush(path: pathlib.Path) -> None:
  """Returns when a file, or the names in a folder, are on the disk."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
