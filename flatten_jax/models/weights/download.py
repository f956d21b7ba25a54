# SPDX-License-Identifier: Apache-2.0
"""Fetches published weights once, and says what it got."""

import hashlib
import logging
import os
import pathlib
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request

log = logging.getLogger('flatten_jax')

_DRIVE = re.compile(r'https://drive\.google\.com/(?:uc\?.*id=|file/d/)([\w-]+)')
_TIMEOUT = 60  # Seconds without a byte.


def is_url(text: str) -> bool:
  """Whether a text names something to download rather than a file."""
  return urllib.parse.urlsplit(text).scheme in ('http', 'https', 'file')


def drive_url(file_id: str) -> str:
  """Where a browser finds a file of Google Drive."""
  return f'https://drive.google.com/uc?export=download&id={file_id}'


def cache_folder() -> pathlib.Path:
  """$XDG_CACHE_HOME/flatten_jax, by default ~/.cache/flatten_jax."""
  cache = pathlib.Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache')
  return cache.expanduser() / 'flatten_jax'


def fetch(url: str) -> pathlib.Path:
  """Downloads a file unless the cache has it; logs its SHA-256.

  A name that ends in a checksum, as in resnet101-63fe2227.pth, must have it.

  Args:
    url: http(s):// or file://; Google Drive's question about large files is
      answered with yes.

  Returns:
    Where it lies.

  Raises:
    OSError: where it cannot be had.
    ValueError: where it is not what was asked for: a web page, or another
      checksum than the name's.
  """
  filename = _filename(url)
  path = cache_folder() / filename
  if path.exists():
    log.info('%s is in the cache, as %s', url, path)
    return path
  advice = f'Download {url} by hand and pass the path of the file instead.'
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_name(f'{path.name}.{os.getpid()}.part')
  try:
    log.info('Downloading %s to %s', url, path)
    with (
      urllib.request.urlopen(_direct(url), timeout=_TIMEOUT) as source,
      open(part, 'wb') as file,
    ):
      shutil.copyfileobj(source, file)
    checksum = _check(part, filename, advice)
    part.rename(path)
  except OSError as error:
    raise OSError(f'Could not download {url}: {error}. {advice}') from error
  finally:
    part.unlink(missing_ok=True)
  log.info(
    'Downloaded %s: %d bytes, SHA-256 %s', path, path.stat().st_size, checksum
  )
  return path


def _filename(url: str) -> str:
  """The URL's own, or the id that Google Drive has instead."""
  if match := _DRIVE.match(url):
    return f'{match[1]}.pth'
  return pathlib.PurePosixPath(urllib.parse.urlsplit(url).path).name


def _direct(url: str) -> str:
  """Google Drive's address of the bytes themselves; others as they are."""
  if not (match := _DRIVE.match(url)):
    return url
  # With the answer to "too large to scan for viruses, go on?".
  return (
    'https://drive.usercontent.google.com/download?export=download&confirm=t'
    f'&id={match[1]}'
  )


def _check(path: pathlib.Path, filename: str, advice: str) -> str:
  """The SHA-256 of what came; raises where it cannot be right."""
  with open(path, 'rb') as file:
    if file.read(64).lstrip().lower().startswith((b'<!doctype', b'<html')):
      raise ValueError(f'A web page came, no checkpoint. {advice}')
    file.seek(0)
    checksum = hashlib.file_digest(file, 'sha256').hexdigest()
  promised = re.search(r'-([0-9a-f]{8,64})\.\w+$', filename)
  if promised and not checksum.startswith(promised[1]):
    raise ValueError(
      f'{filename} should have a SHA-256 that starts with {promised[1]}; what '
      f'came has {checksum}. Try again. {advice}'
    )
  return checksum
