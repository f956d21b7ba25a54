# SPDX-License-Identifier: Apache-2.0
"""Reads lists as text, and says what a file is that is not a text."""

import codecs
import gzip
import os
import re
import zlib

from flatten_jax.inputs.sources.rows import has_video_suffix

MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
EXPECTED = (
  'not a text: expected a list with lines like `path label`, or a folder of '
  'class folders.'
)
# Beginnings of other files, and advice.
OTHERS = {
  rb'PK\x03\x04.*(xl/|opendocument)|\xd0\xcf\x11\xe0': (
    'a workbook: save it as "CSV UTF-8"'
  ),
  rb'PK\x03\x04': 'a zip archive: unpack it',
  rb'BZh|\xfd7zXZ|7z\xbc\xaf|Rar!|(\x28\xb5\x2f\xfd)': 'an archive: unpack it',
  rb'PAR1': (
    'a Parquet table: write it as CSV, for example with '
    'pandas.read_parquet(FILE).to_csv(LIST, index=False)'
  ),
  rb'%PDF': 'a PDF: save its table as CSV',
  rb'\s*<(!doctype|html)': (
    'a web page: download the file itself (on GitHub: "Raw")'
  ),
  rb'version https://git-lfs': 'a pointer of Git LFS: run `git lfs pull`',
}


def read_text(file: str | os.PathLike) -> str:
  """Reads a text with plain line ends and without byte order marks.

  Raises:
    ValueError: the file is a video, a workbook or another binary file.
  """
  if has_video_suffix(os.fspath(file)):
    raise ValueError(f'{file} is a video, {EXPECTED}')
  with open(file, 'rb') as f:
    raw = f.read()
  if raw[:2] == b'\x1f\x8b':
    try:
      raw = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
      raise ValueError(f'{file} is a damaged gzip file: {error}') from error
  for start, kind in OTHERS.items():
    if re.match(start, raw, re.DOTALL | re.IGNORECASE):
      raise ValueError(f'{file} is {kind}. It is {EXPECTED}')
  # Bytes of a path that are not UTF-8 must come back as the same bytes.
  encoding = 'utf-16' if raw.startswith(MARKS) else unmarked(raw)
  try:
    text = raw.decode(encoding, 'surrogateescape')
  except UnicodeDecodeError:
    text = '\0'
  if '\0' in text:
    raise ValueError(f'{file} is a binary file, {EXPECTED}')
  # Joined texts have marks in the middle.
  return re.sub('\r\n?', '\n', text.replace('\ufeff', ''))


def unmarked(raw: bytes) -> str:
  """Returns the encoding of a text without a byte order mark."""
  for encoding, high in (('utf-16-le', raw[1::2]), ('utf-16-be', raw[::2])):
    if high.count(0) > 0.6 * len(high):  # Those of ASCII are zero.
      return encoding
  return 'utf-8'
