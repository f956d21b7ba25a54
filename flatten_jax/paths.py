# SPDX-License-Identifier: Apache-2.0
"""Home folder, addresses, the folder of caches, and files in one piece."""

from collections.abc import Iterator
import contextlib
import functools
import logging
import os
import pathlib
import tempfile
import uuid

log = logging.getLogger('flatten_jax')


def expand(path: str | os.PathLike[str]) -> pathlib.Path:
  """Replaces `~` or `~user` at the start of a path.

  All else stays: variables like $HOME are replaced by the shell.

  Raises:
    ValueError: nobody knows the home folder of this user.
  """
  expanded = os.path.expanduser(path)
  if expanded == '~' or expanded.startswith('~/'):
    raise ValueError(
      f'{path}: this user has no home folder. Set the variable HOME, or write '
      'the whole path.'
    )
  return pathlib.Path(expanded)


def is_remote(path: str | os.PathLike[str] | None) -> bool:
  """Returns whether `path` is an address like gs://bucket/folder."""
  return '://' in str(path)


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a new path beside `path`, whose file replaces that of `path`.

  So a file is written in one piece: a mistake or an interruption leaves the old
  one, and processes that write the same file do not disturb each other.
  """
  # Short, since the name of `path` may be as long as a name can be.
  partial = path.with_name(f'.{uuid.uuid4().hex}.partial')
  try:
    yield partial
    os.replace(partial, path)
  finally:
    partial.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
  """Writes a text file in one piece, as UTF-8.

  Names in it may contain bytes that are not UTF-8: they are written as escapes.
  """
  with replacing(path) as partial:
    partial.write_bytes(text.encode('utf-8', 'backslashreplace'))


def cache(name: str) -> pathlib.Path:
  """Returns the place of a cached file or folder, which may not exist yet.

  It is in $XDG_CACHE_HOME/flatten_jax, by default ~/.cache/flatten_jax. If that
  cannot be written to, as in containers, it is with the temporary files, and a
  warning says so.
  """
  folder = os.environ.get('XDG_CACHE_HOME', '')
  if not os.path.isabs(folder):
    folder = os.path.expanduser('~/.cache')
  place = pathlib.Path(folder, 'flatten_jax', name)
  if os.path.isabs(folder) and (place.exists() or _can_create(place)):
    return place
  return _temporary_cache(folder) / name


def _can_create(path: pathlib.Path) -> bool:
  """Returns whether the nearest folder that exists can be written to."""
  nearest = next(p for p in path.parents if os.path.lexists(p))
  return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


@functools.cache
def _temporary_cache(folder: str) -> pathlib.Path:
  """Returns a folder of this user's instead of `folder`; warns once."""
  path = pathlib.Path(tempfile.gettempdir(), f'flatten_jax_{os.getuid()}')
  path.mkdir(mode=0o700, exist_ok=True)
  if path.is_symlink() or path.stat().st_uid != os.getuid():
    path = pathlib.Path(tempfile.mkdtemp(prefix='flatten_jax_'))
  log.warning(
    '%s cannot be written to: caches are in %s. Set HOME or XDG_CACHE_HOME to '
    'keep them.',
    *(folder, path),
  )
  return path
