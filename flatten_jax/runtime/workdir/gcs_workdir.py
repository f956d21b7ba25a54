# SPDX-License-Identifier: Apache-2.0
"""Workdirs in buckets (gs://bucket/run): a local mirror of the bucket.

Object stores cannot append to files or rename them atomically. So logs, results
and pages are written to a local folder, which is copied to the bucket with
every checkpoint and at the end. Orbax writes the checkpoints to the bucket.
"""

from collections.abc import Iterator
import contextlib
import hashlib
import logging
import os
import pathlib
import shutil

from etils import epath

from flatten_jax import paths

log = logging.getLogger('flatten_jax')

NOTE = '.mirror_of'  # A file in each mirror with the address of its bucket.
_copied: dict[pathlib.Path, tuple[int, int]] = {}  # File -> time and size.


@contextlib.contextmanager
def mirrored_workdir(
  workdir: str | None,
) -> Iterator[str | pathlib.Path | None]:
  """Yields the local mirror of a workdir in a bucket, the path of any other.

  While a training on this machine uses the mirror, whose files are newer than
  the bucket's then, it is left to that one to copy them.

  Raises:
    ValueError: there is no store of this kind.
    RuntimeError: the package that reads this kind of store is not installed.
  """
  if not paths.is_remote(workdir):
    yield workdir and paths.expand(workdir)
    return
  from flatten_jax.runtime.workdir import workdirs  # It imports jax.

  try:
    store = epath.Path(workdir)
  except KeyError:
    raise ValueError(
      f'{workdir} cannot be opened: expected a folder, or an address as '
      'gs://bucket/run. Write a folder without file://.'
    ) from None
  name = hashlib.sha256(str(store).encode()).hexdigest()[:16]
  folder = paths.cache(f'workdirs/{name}')
  folder.mkdir(parents=True, exist_ok=True)
  if not workdirs.in_use(folder):
    (folder / NOTE).write_text(str(store))
    try:
      _refresh(folder, store)
    except ImportError as error:
      raise RuntimeError(
        f'{workdir} cannot be opened: {error}. For gs://, `pip install gcsfs`.'
      ) from error
  log.info('%s is mirrored in %s', workdir, folder)
  try:
    yield folder
  finally:
    if workdirs.in_use(folder):
      log.info('The training in %s copies the files to %s', folder, workdir)
    else:
      upload(folder)


def checkpoint_root(folder: str | pathlib.Path) -> epath.Path | pathlib.Path:
  """Returns the bucket's folder if `folder` is in a mirror, else `folder`."""
  folder = paths.expand(folder).absolute()
  mirror, store = _mirror_of(folder)
  return store / folder.relative_to(mirror).as_posix() if mirror else folder


def upload(folder: str | pathlib.Path) -> None:
  """Copies changed files to the bucket if `folder` is in a mirror."""
  import jax  # Not above: processes that decode video do not need it.

  mirror, store = _mirror_of(folder)
  if mirror is None or jax.process_index():
    return
  for file in sorted(mirror.rglob('*')):
    path = file.relative_to(mirror)
    hidden = any(part.startswith('.') for part in path.parts)
    if file.is_dir() or hidden or _copied.get(file) == _version(file):
      continue
    version = _version(file)
    target = store / path.as_posix()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(file.read_bytes())
    _copied[file] = version


def _mirror_of(
  folder: str | pathlib.Path,
) -> tuple[pathlib.Path, epath.Path] | tuple[None, None]:
  """Returns the mirror that contains `folder`, and its address."""
  folder = pathlib.Path(folder).absolute()
  for mirror in (folder, *folder.parents):
    if os.path.isfile(mirror / NOTE):
      return mirror, epath.Path((mirror / NOTE).read_text())
  return None, None


def _refresh(folder: pathlib.Path, store: epath.Path) -> None:
  """Copies a run from its bucket; empties the mirror of one that is not there.

  Else the files of a run that was deleted would be copied into a new one.
  """
  if store.exists():
    _download(store, folder)
    return
  for path in folder.iterdir():
    if path.is_dir():
      shutil.rmtree(path)
    elif not path.name.startswith('.'):  # The note, and the lock.
      path.unlink()


def _download(store: epath.Path, folder: pathlib.Path) -> None:
  """Copies everything but the checkpoints from the bucket to the mirror."""
  for path in store.iterdir():
    target = folder / path.name
    if path.name == 'checkpoints' or path.name.startswith('damaged_'):
      continue
    if path.is_dir():
      target.mkdir(exist_ok=True)
      _download(path, target)
    else:
      target.write_bytes(path.read_bytes())
      _copied[target] = _version(target)


def _version(file: pathlib.Path) -> tuple[int, int]:
  stat = file.stat()
  return stat.st_mtime_ns, stat.st_size
