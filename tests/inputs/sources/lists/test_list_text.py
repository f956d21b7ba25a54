# SPDX-License-Identifier: Apache-2.0
"""Lists in any encoding are read; other files are named for what they are."""

import gzip
import io
import zipfile

import pytest

from flatten_jax.inputs.sources.lists.text import read_text

TEXT = 'left/übung 1.mp4,left\nup/2.mp4,up\n'


@pytest.mark.parametrize(
  'encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be']
)
@pytest.mark.parametrize('pack', [bytes, gzip.compress])
def test_any_unicode_is_read_packed_or_not(tmp_path, encoding, pack):
  file = tmp_path / 'list.csv'
  file.write_bytes(pack(TEXT.replace('\n', '\r\n').encode(encoding)))
  assert read_text(file) == TEXT


def test_marks_in_the_middle_of_joined_texts_are_dropped(tmp_path):
  file = tmp_path / 'list.csv'
  file.write_text('\ufeffa.mp4 0\n\ufeffb.mp4 1\n', encoding='utf-8')
  assert read_text(file) == 'a.mp4 0\nb.mp4 1\n'


def archive(*names):
  content = io.BytesIO()
  with zipfile.ZipFile(content, 'w') as file:
    for name in names:
      file.writestr(name, 'x' * 5000)
  return content.getvalue()


@pytest.mark.parametrize(
  'name, content, kind',
  [
    (
      'list.xlsx',
      archive('[Content_Types].xml', 'xl/workbook.xml'),
      'workbook',
    ),
    (
      'list.xls',
      b'\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1',
      'workbook: save it as "CSV',
    ),
    ('list.zip', archive('list.csv'), 'a zip archive: unpack it'),
    ('list.csv.bz2', b'BZh91AY&SY\0', 'an archive: unpack it'),
    ('list.parquet', b'PAR1\0\0', r'pandas\.read_parquet'),
    ('list.csv', b'\n<!DOCTYPE html>\n<html>', 'a web page'),
    ('list.csv', b'version https://git-lfs.github.com/spec', 'git lfs pull'),
    ('list.csv.gz', b'\x1f\x8b\x08' + bytes(40), 'damaged gzip'),
    ('list.dat', b'\0\0\0 ftypisom' + bytes(99), 'a binary file, not a text'),
    ('clip.mp4', b'\0\0\0 ftypisom', 'a video, not a text'),
  ],
)
def test_a_file_that_is_not_a_text_is_named(tmp_path, name, content, kind):
  (tmp_path / name).write_bytes(content)
  with pytest.raises(ValueError, match=f'{name} is .*{kind}'):
    read_text(tmp_path / name)
