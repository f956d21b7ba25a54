# SPDX-License-Identifier: Apache-2.0
"""Finds the videos to classify: files, folders and binary streams."""

from collections.abc import Iterator, Sequence
import contextlib
import os
import shutil
import tempfile
from typing import BinaryIO
import zipfile

from flatten_jax.inputs.sources import folders, rows
from flatten_jax.inputs.sources.dataset import Record
from flatten_jax.inputs.video.frame_files.frame_folder import FramesPath
from flatten_jax.inputs.video.frame_files.frame_names import is_zip
from flatten_jax.paths import expand

Video = str | os.PathLike | BinaryIO
STREAM = 'stdin'  # The name of a stream.


@contextlib.contextmanager
def find(video: Video | Sequence[Video]) -> Iterator[tuple[Record, ...]]:
  """Yields records of all videos, streams first.

  Names are paths relative to the common folder. A stream is copied to a
  temporary file, since decoders have to seek, for as long as the context lasts.

  Raises:
    FileNotFoundError: a file does not exist, or a folder contains no videos.
    ValueError: a stream is empty, or no video is given.
  """
  several = isinstance(video, Sequence) and not isinstance(video, str)
  with contextlib.ExitStack() as stack:
    paths, bases, streams = [], [], []
    for item in video if several else (video,):
      if hasattr(item, 'read'):
        path = stack.enter_context(_stored(item))
        streams.append(FramesPath(path) if zipfile.is_zipfile(path) else path)
        continue
      if not isinstance(item, str | os.PathLike) or not os.fspath(item):
        raise ValueError(
          'A video is a file, a folder or a binary stream; got '
          f'{"an empty name" if item == "" else type(item).__name__}.'
        )
      path = os.path.abspath(expand(item))
      if os.path.isdir(path):
        bases.append(path)
        if not (found := folders.videos_below(bases[-1])):
          suffixes = ', '.join(sorted(rows.VIDEO_SUFFIXES))
          raise FileNotFoundError(
            f'{bases[-1]} contains no videos: no file in it or in its '
            f'subfolders ends in one of {suffixes}, and there are no numbered '
            'images (img_00001.jpg). Give a photograph by its own name.'
          )
        if os.fspath(found[0]) == bases[-1]:  # Its frames are in it.
          bases[-1] = os.path.dirname(bases[-1])
        paths += found
      elif os.path.exists(path):
        paths.append(FramesPath(path) if is_zip(path) else path)
        bases.append(os.path.dirname(path))
      else:
        raise FileNotFoundError(f'There is no video {os.fspath(item)}.')
    if not paths and not streams:
      raise ValueError('No video was given.')
    folders.log_frames(paths)
    base = os.path.commonpath(bases) if bases else ''
    yield (
      *(Record(STREAM, path, -1) for path in streams),
      *(Record(os.path.relpath(path, base), path, -1) for path in paths),
    )


@contextlib.contextmanager
def _stored(stream: BinaryIO) -> Iterator[str]:
  """Copies a stream to a temporary file. -> its path."""
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
