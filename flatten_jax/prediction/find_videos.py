# SPDX-License-Identifier: Apache-2.0
"""Finds the videos to classify: files, folders and binary streams."""

from collections.abc import Collection, Iterator, Sequence
import contextlib
import http.client
import itertools
import os
import shutil
import tempfile
from typing import Any, BinaryIO
import urllib.parse
import urllib.request
import zipfile

import numpy as np

from flatten_jax.inputs.sources import folders, rows
from flatten_jax.inputs.sources.dataset import Record
from flatten_jax.inputs.streams import sources
from flatten_jax.inputs.video.frame_files.frame_folder import FramesPath
from flatten_jax.inputs.video.frame_files.frame_names import is_zip
from flatten_jax.inputs.video.interface import DecodedVideo
from flatten_jax.paths import expand

Video = str | os.PathLike | BinaryIO | np.ndarray
STREAM, ARRAY = 'stdin', 'frames'  # Names of what has no file.
TO_RGB = {4: '[..., :3]', 1: '.repeat(3, -1)'}  # Of channels, what to write.
_SCHEMES = 'http://', 'https://'


@contextlib.contextmanager
def find(video: Video | Sequence[Video]) -> Iterator[tuple[Record, ...]]:
  """Yields records of all videos, streams first.

  Names are paths relative to the common folder. A stream, as of a URL, is
  copied to a temporary file, since decoders have to seek, for as long as the
  context lasts. Frames in memory, [T H W 3], are a video too.

  Raises:
    FileNotFoundError: a file does not exist, or a folder contains no videos.
    ValueError: a stream is empty, frames are not uint8 [T H W 3] with pixels,
      or no video is given.
  """
  several = isinstance(video, Sequence) and not isinstance(video, str)
  if several and len(video) and is_frame(video[0]):  # Not videos.
    video, several = np.stack([np.asarray(frame) for frame in video]), False
  with contextlib.ExitStack() as stack:
    streams, bases, paths = [], [], []
    for item in video if several else (video,):
      if _is_stream(item):
        streams.append(_stream(item, stack))
      else:
        base, found = _files(item)
        bases.append(base)
        paths += found
    if not paths and not streams:
      raise ValueError('No video was given.')
    folders.log_frames(paths)
    base = os.path.commonpath(bases) if bases else ''
    files = [(os.path.relpath(path, base), path) for path in paths]
    taken = {name for name, _ in files}
    for number, (name, content) in enumerate(streams):
      streams[number] = _free(name, taken), content
      taken.add(streams[number][0])
    yield tuple(Record(*pair, -1) for pair in (*streams, *files))


def _free(name: str, taken: Collection[str]) -> str:
  """Returns a name that is free, 'clip (2).mp4': files are written by names."""
  stem, suffix = os.path.splitext(name)
  for number in itertools.count(2):
    if name not in taken:
      break
    name = f'{stem} ({number}){suffix}'
  return name


def _is_stream(item: Any) -> bool:
  """Returns whether a video has no file yet: frames, a stream or a URL."""
  return hasattr(item, 'shape') or hasattr(item, 'read') or _is_url(item)


def _is_url(item: Any) -> bool:
  return isinstance(item, str) and item.lower().startswith(_SCHEMES)


def _stream(
  item: Video, stack: contextlib.ExitStack
) -> tuple[str, DecodedVideo | str]:
  """Returns the name of frames, a stream or a URL, and what to read.

  Raises:
    OSError: the URL cannot be downloaded.
    ValueError: the frames are not uint8 [T H W 3], or the stream is empty.
  """
  if hasattr(item, 'shape'):
    return ARRAY, _in_memory(item)
  if _is_url(item):
    name, path = _file_name(item), stack.enter_context(_downloaded(item))
  else:
    name, path = STREAM, stack.enter_context(_stored(item))
  return name, FramesPath(path) if zipfile.is_zipfile(path) else path


def _files(item: str | os.PathLike) -> tuple[str, list[str]]:
  """Returns the folder that videos are named by, and their paths.

  Raises:
    FileNotFoundError: the file does not exist, or the folder has no videos.
    ValueError: it is not the name of a file, or of a video without an end.
  """
  if not isinstance(item, str | os.PathLike) or not os.fspath(item):
    raise ValueError(
      'A video is a file, a folder, a URL, a binary stream or frames; got '
      f'{"an empty name" if item == "" else type(item).__name__}.'
    )
  if sources.never_ends(os.fspath(item)):
    raise ValueError(
      f'{sources.Source.of(item).name} has no end: use --mode=stream, or '
      'fj.stream.'
    )
  path = os.path.abspath(expand(item))
  if os.path.isdir(path):
    return _files_below(path)
  if not os.path.exists(path):
    raise FileNotFoundError(f'There is no video {os.fspath(item)}.')
  return os.path.dirname(path), [FramesPath(path) if is_zip(path) else path]


def _files_below(folder: str) -> tuple[str, list[str]]:
  """Returns what `_files` does, of a folder that exists."""
  found = folders.videos_below(folder)
  if not found:
    suffixes = ', '.join(sorted(rows.VIDEO_SUFFIXES))
    raise FileNotFoundError(
      f'{folder} contains no videos: no file in it or in its '
      f'subfolders ends in one of {suffixes}, and there are no numbered '
      'images (img_00001.jpg). Give a photograph by its own name.'
    )
  is_one_video = os.fspath(found[0]) == folder  # Its frames are in it.
  return os.path.dirname(folder) if is_one_video else folder, list(found)


def is_frame(item: Any) -> bool:
  """Returns whether an item of a sequence is an image [H W 3]."""
  return getattr(item, 'ndim', 0) == 3 and not isinstance(item, str)


def _in_memory(frames: Any) -> DecodedVideo:
  """Returns frames as a video.

  Raises:
    ValueError: they are not uint8 [T H W 3], or have no pixels.
  """
  frames = np.asarray(frames)
  if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
    hint = ''
    if frames.ndim == 4 and frames.shape[-1] in TO_RGB:
      hint = f' Write frames{TO_RGB[frames.shape[-1]]}.'
    elif frames.ndim == 4 and frames.shape[-1] != 3 and 3 in frames.shape[:2]:
      axes = (1, 2, 3, 0) if frames.shape[0] == 3 else (0, 2, 3, 1)
      hint = f' Write frames.transpose{axes}.'
    raise ValueError(
      'Frames are uint8 [T H W 3], RGB from 0 to 255; got '
      f'{frames.dtype} {list(frames.shape)}.{hint}'
    )
  if not frames.size:
    raise ValueError(
      f'Expected frames with pixels, [T H W 3]; got none: {list(frames.shape)}.'
    )
  return DecodedVideo(np.ascontiguousarray(frames))


def _file_name(url: str) -> str:
  """Returns the name of the file of a URL, or of its host if it has none.

  Files are written by it: it has no folder, and no query, which may be secret.
  """
  parts = urllib.parse.urlparse(url)
  path = urllib.parse.unquote(parts.path).replace('\0', '')
  name = os.path.basename(path.rstrip('/'))
  return parts.hostname or '' if name in ('', '.', '..') else name


@contextlib.contextmanager
def _downloaded(url: str) -> Iterator[str]:
  """Copies a URL to a temporary file. -> its path.

  Raises:
    OSError: it cannot be downloaded as a whole.
  """
  # Spaces and letters of any language, as they are pasted.
  quoted = urllib.parse.quote(url, safe="%/:?#[]@!$&'()*+,;=~")
  # Some hosts refuse the name that Python gives.
  headers, name = {'User-Agent': 'flatten-jax'}, sources.public_name(url)
  with contextlib.ExitStack() as stack:
    try:
      request = urllib.request.Request(quoted, headers=headers)
      stream = stack.enter_context(urllib.request.urlopen(request, timeout=60))
      suffix = os.path.splitext(_file_name(url))[1]
      path = stack.enter_context(_stored(stream, suffix))
      size, there = stream.headers['Content-Length'], os.path.getsize(path)
      if size and int(size) != there:
        raise OSError(f'the connection ended after {there} of {size} bytes')
    except http.client.IncompleteRead as error:
      cause = 'the connection ended too early'
      raise OSError(f'{name} cannot be downloaded: {cause}') from error
    except (OSError, http.client.HTTPException) as error:
      cause = getattr(error, 'reason', '') or error
      raise OSError(f'{name} cannot be downloaded: {cause}') from error
    yield path


@contextlib.contextmanager
def _stored(stream: BinaryIO, suffix: str = '') -> Iterator[str]:
  """Copies a stream to a temporary file. -> its path."""
  if hasattr(stream, 'isatty') and stream.isatty():
    raise ValueError(
      'Expected a video on stdin, and nothing is piped into it. For example: '
      'cat clip.mp4 | python main.py --mode=predict --video=- ...'
    )
  with tempfile.NamedTemporaryFile(
    prefix='flatten_jax_', suffix=suffix
  ) as file:
    shutil.copyfileobj(stream, file)
    file.flush()
    if not file.tell():
      raise ValueError('Expected a video; the stream was empty.')
    yield file.name
