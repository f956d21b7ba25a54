# SPDX-License-Identifier: Apache-2.0
"""Which videos are meant: a file, a folder, several, or bytes as they come."""

from collections.abc import Iterator, Sequence
import contextlib
import os
import shutil
import tempfile
from typing import BinaryIO

from flatten_jax.inputs.sources import folders, lists
from flatten_jax.inputs.sources.dataset import Record

Video = str | os.PathLike | BinaryIO
STREAM = 'stdin'  # What a video is called that came without a name.


@contextlib.contextmanager
def find(video: Video | Sequence[Video]) -> Iterator[tuple[Record, ...]]:
  """The videos; their names are paths from the folder that holds them all.

  A stream, named stdin, is copied to a temporary file, since containers want to
  be seeked in; it is gone when this is left. Streams come first.

  Raises:
    FileNotFoundError: there is no such file, or a folder without videos.
    ValueError: a stream that holds nothing, or no video at all.
  """
  several = isinstance(video, Sequence) and not isinstance(video, str)
  with contextlib.ExitStack() as stack:
    paths, bases, streams = [], [], []
    for item in video if several else (video,):
      if hasattr(item, 'read'):
        streams.append(stack.enter_context(stored(item)))
      elif os.path.isdir(item):
        paths += below(os.path.abspath(item))
        bases.append(os.path.abspath(item))
      elif os.path.exists(item):
        paths.append(os.path.abspath(item))
        bases.append(os.path.dirname(paths[-1]))
      else:
        raise FileNotFoundError(f'There is no video {os.fspath(item)}')
    if not paths and not streams:
      raise ValueError('No video was given.')
    base = os.path.commonpath(bases) if bases else ''
    yield (
      *(Record(STREAM, path, -1) for path in streams),
      *(Record(os.path.relpath(path, base), path, -1) for path in paths),
    )


def below(folder: str) -> list[str]:
  """All files in a folder and its subfolders that are named like videos."""
  paths = folders.videos_below(folder)
  if not paths:
    suffixes = ', '.join(sorted(lists.VIDEO_SUFFIXES))
    raise FileNotFoundError(
      f'{folder} holds no videos: no file in it, or in a folder below, has a '
      f'name that ends in one of {suffixes}.'
    )
  return paths


@contextlib.contextmanager
def stored(stream: BinaryIO) -> Iterator[str]:
  """A file that holds what a stream gives."""
  if hasattr(stream, 'isatty') and stream.isatty():
    raise ValueError(
      'Expected a video on stdin, and nothing is piped into it. For example: '
      'cat clip.mp4 | python main.py --mode=predict --video=- ...'
    )
  with tempfile.NamedTemporaryFile(prefix='flatten_jax_') as file:
    shutil.copyfileobj(stream, file)
    file.flush()
    if not file.tell():
      raise ValueError('Expected a video on stdin; it was empty.')
    yield file.name
