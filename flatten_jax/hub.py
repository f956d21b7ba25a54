# SPDX-License-Identifier: Apache-2.0
"""Models on the Hugging Face Hub: hf://user/name, hf://user/name@revision.

huggingface_hub downloads, caches and uploads. It finds the user's token itself,
which this package never sees.
"""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import re
import types

from flatten_jax import paths

SCHEME = 'hf://'
CONFIG, WEIGHTS, CARD = FILES = (
  'config.json',
  'model.safetensors',
  'README.md',
)  # Of a repository; no other file is downloaded.
_NAME = r'[A-Za-z0-9][\w.-]*'
_REPOSITORY = re.compile(f'({_NAME}/{_NAME})(?:@([\\w./-]+))?', re.ASCII)


def is_address(source: object) -> bool:
  """Returns whether a source has the form 'hf://...'."""
  return isinstance(source, str) and source.startswith(SCHEME)


def parse(address: str) -> tuple[str, str | None]:
  """Returns the repository, 'user/name', and the revision, if there is one.

  Args:
    address: with or without 'hf://'.

  Raises:
    ValueError: it has another form.
  """
  match = _REPOSITORY.fullmatch(address.removeprefix(SCHEME))
  if match is None:
    raise ValueError(
      'A model on the Hugging Face Hub is hf://user/name, or '
      f'hf://user/name@revision; got {address!r}.'
    )
  return match[1], match[2]


def address_of(target: str | os.PathLike[str]) -> str:
  """Returns 'hf://user/name' if a target is one, or 'user/name'; '' of a path.

  'a/b' is a path if there is a folder a.
  """
  if is_address(target):
    parse(target)
    return target
  text = os.fspath(target)
  is_name = isinstance(target, str) and _REPOSITORY.fullmatch(text)
  in_folder = os.path.exists(text.partition('/')[0])
  return f'{SCHEME}{text}' if is_name and not in_folder else ''


def local(source: str | os.PathLike[str]) -> pathlib.Path:
  """Returns the path of a source, which is downloaded if it is an address."""
  return fetch(source) if is_address(source) else paths.expand(source)


def fetch(address: str) -> pathlib.Path:
  """Downloads the `FILES` of a repository that are not in the cache.

  Without a connection, and with HF_HUB_OFFLINE=1, the cache answers.

  Returns:
    The folder of this revision in huggingface_hub's cache.

  Raises:
    OSError: there is no such repository or revision, or it cannot be reached.
    RuntimeError: huggingface_hub is not installed.
    ValueError: the repository has no weights as safetensors.
  """
  repository, revision = parse(address)
  with friendly_errors(address):
    folder = library().snapshot_download(
      repository, revision=revision, allow_patterns=list(FILES)
    )
  if not is_safetensors(pathlib.Path(folder, WEIGHTS)):
    raise ValueError(
      f'{address} has no {WEIGHTS}, the only form of weights that is read from '
      'the Hub.'
    )
  return pathlib.Path(folder)


def is_safetensors(file: pathlib.Path) -> bool:
  """Returns whether a file begins as safetensors do: a length, and JSON."""
  if not file.is_file():
    return False
  with file.open('rb') as stream:
    return stream.read(9)[7:] == b'\0{'


def library() -> types.ModuleType:
  """Imports huggingface_hub.

  Raises:
    RuntimeError: it is not installed.
  """
  try:
    import huggingface_hub
    import huggingface_hub.errors
  except ImportError as error:
    raise RuntimeError(
      'Models on the Hugging Face Hub need huggingface_hub: '
      'pip install "flatten-jax[hub]"'
    ) from error
  return huggingface_hub


@contextlib.contextmanager
def friendly_errors(address: str) -> Iterator[None]:
  """Raises what huggingface_hub reports as one sentence, as OSError."""
  errors = library().errors
  try:
    yield
  except errors.RevisionNotFoundError as error:
    raise OSError(f'{address}: the repository has no such revision.') from error
  except errors.GatedRepoError as error:
    raise OSError(
      f'{address}: its owner gives access on request, on its page.'
    ) from error
  except errors.RepositoryNotFoundError as error:
    raise OSError(
      f'{address}: there is no such repository, or it is private and the token '
      'of this machine (`hf auth login`, or HF_TOKEN) does not open it.'
    ) from error
  except errors.LocalEntryNotFoundError as error:
    raise OSError(
      f'{address} is not in the cache of this machine, and the Hub cannot be '
      'reached, or HF_HUB_OFFLINE is set.'
    ) from error
  except errors.HfHubHTTPError as error:
    status = error.response.status_code
    hint = ' Log in with `hf auth login`, or set HF_TOKEN.'
    raise OSError(
      f'{address}: the Hub answered with status {status}.'
      + hint * (status in (401, 403))
    ) from error
  except errors.HTTPError as error:  # Of the HTTP client, on an upload.
    raise OSError(f'{address}: the Hub cannot be reached: {error}') from error
