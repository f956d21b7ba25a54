# SPDX-License-Identifier: Apache-2.0
"""Workdirs on object stores, gs://bucket/run: a local mirror, and the store.

Object stores have no appending, and no renaming at once. So logs, results and
pages are written to a local folder, which is copied to the store with every
checkpoint and at the end; the checkpoints are written there directly, by Orbax.
"""

from collections.abc import Iterator
import contextlib
import hashlib
import logging
import pathlib

from etils import epath

log = logging.getLogger('flatten_jax')

NOTE = '.mirror_of'  # A file in a mirror; it holds the address.
CACHE = pathlib.Path('~/.cache/flatten_jax/workdirs')
_stored: dict[pathlib.Path, tuple[int, int]] = {}  # Time and size, when copied.


def is_remote(path: str | pathlib.Path | None) -> bool:
  """Whether it is an address like gs://bucket/folder."""
  return '://' in str(path)


@contextlib.contextmanager
def mirrored_workdir(
  workdir: str | None,
) -> Iterator[str | pathlib.Path | None]:
  """What to use in place of a workdir: for one on a store, its mirror.

  Raises:
    RuntimeError: what reads this kind of store is not installed.
  """
  if not is_remote(workdir):
    yield workdir
    return
  store = epath.Path(workdir)
  name = hashlib.sha256(str(store).encode()).hexdigest()[:16]
  folder = CACHE.expanduser() / name
  folder.mkdir(parents=True, exist_ok=True)
  (folder / NOTE).write_text(str(store))
  try:
    _download(store, folder)
  except ImportError as error:
    raise RuntimeError(
      f'{workdir} cannot be opened: {error}. For gs://, `pip install gcsfs`.'
    ) from error
  log.info('%s is mirrored in %s', workdir, folder)
  try:
    yield folder
  finally:
    upload(folder)


def checkpoint_root(folder: str | pathlib.Path) -> epath.Path | pathlib.Path:
  """Where the checkpoints of a workdir go: itself, or what it mirrors."""
  folder = pathlib.Path(folder).absolute()
  root = _root(folder)
  if root is None:
    return folder
  return epath.Path((root / NOTE).read_text()) / folder.relative_to(root)


def upload(folder: str | pathlib.Path) -> None:
  """Copies what changed in the mirror that `folder` is in, if it is in one."""
  import jax  # Not above: processes that decode video need none of it.

  root = _root(pathlib.Path(folder).absolute())
  if root is None or jax.process_index():
    return
  store = epath.Path((root / NOTE).read_text())
  for file in sorted(root.rglob('*')):
    stat = file.stat()
    key = stat.st_mtime_ns, stat.st_size
    hidden = any(p.startswith('.') for p in file.relative_to(root).parts)
    if file.is_dir() or hidden or _stored.get(file) == key:
      continue
    target = store / file.relative_to(root).as_posix()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(file.read_bytes())
    _stored[file] = key


def _root(folder: pathlib.Path) -> pathlib.Path | None:
  """The mirror that a folder is, or is in."""
  ours = CACHE.expanduser().absolute()
  if ours not in folder.parents:
    return None
  return next(
    (f for f in (folder, *folder.parents) if (f / NOTE).exists()), None
  )


def _download(store: epath.Path, folder: pathlib.Path) -> None:
  """Brings the mirror up to what the store holds, but for checkpoints."""
  if not store.exists():
    return
  for path in store.iterdir():
    target = folder / path.name
    if path.name == 'checkpoints' or path.name.startswith('damaged_'):
      continue
    if path.is_dir():
      target.mkdir(exist_ok=True)
      _download(path, target)
      continue
    target.write_bytes(path.read_bytes())
    _stored[target] = target.stat().st_mtime_ns, target.stat().st_size
