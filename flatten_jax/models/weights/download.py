# SPDX-License-Identifier: Apache-2.0
"""Downloads weights once, and logs their checksum."""

import logging
import pathlib
import re
import urllib.parse
import urllib.request

import pooch

from flatten_jax import paths

log = logging.getLogger('flatten_jax')

_DRIVE = re.compile(r'https://drive\.google\.com/(?:uc\?.*id=|file/d/)([\w-]+)')


def is_url(text: str) -> bool:
  """Returns whether a text is a URL rather than a path."""
  return urllib.parse.urlsplit(text).scheme in ('http', 'https', 'file')


def drive_url(file_id: str) -> str:
  """Returns the address of a file of Google Drive in a browser."""
  return f'https://drive.google.com/uc?export=download&id={file_id}'


def fetch(url: str) -> pathlib.Path:
  """Downloads a file unless it is in the cache; logs its SHA-256.

  Args:
    url: http(s)://, or file:// for a file that is used in place. If the name
      ends in a checksum, as in resnet101-63fe2227.pth, it is compared.

  Returns:
    The path of the file.

  Raises:
    OSError: the file cannot be downloaded.
    ValueError: a web page came instead, or the checksum differs.
  """
  parts = urllib.parse.urlsplit(url)
  if parts.scheme == 'file':
    return pathlib.Path(urllib.request.url2pathname(parts.path))
  name, address = pathlib.PurePosixPath(parts.path).name, url
  if match := _DRIVE.match(url):
    # The answer to "too large to scan for viruses; download anyway?" is in it.
    name = f'{match[1]}.pth'
    address = (
      'https://drive.usercontent.google.com/download?export=download&confirm=t'
      f'&id={match[1]}'
    )
  path = paths.cache(name)
  if path.exists():
    log.info('%s is in the cache, as %s', url, path)
    return path
  advice = f'Download {url} by hand and pass the path of the file instead.'

  def download(address, part, _):
    pooch.HTTPDownloader(timeout=60)(address, part, None)
    checksum = _check(pathlib.Path(part), name, advice)
    log.info('Downloaded %s, SHA-256 %s', path, checksum)

  log.info('Downloading %s', url)
  pooch.get_logger().setLevel('WARNING')
  try:
    pooch.retrieve(address, None, name, path.parent, downloader=download)
  except OSError as error:
    raise OSError(f'Could not download {url}: {error}. {advice}') from error
  return path


def _check(path: pathlib.Path, name: str, advice: str) -> str:
  """Returns the SHA-256; raises for a web page, or if the name has another."""
  with open(path, 'rb') as file:
    if file.read(64).lstrip().lower().startswith((b'<!doctype', b'<html')):
      raise ValueError(f'A web page came instead of a checkpoint. {advice}')
  checksum = pooch.file_hash(str(path))
  expected = re.search(r'-([0-9a-f]{8,64})\.\w+$', name)
  if expected and not checksum.startswith(expected[1]):
    raise ValueError(
      f'The SHA-256 of {name} should start with {expected[1]}, but is '
      f'{checksum}. Try again. {advice}'
    )
  return checksum
