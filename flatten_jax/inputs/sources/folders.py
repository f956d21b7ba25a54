# SPDX-License-Identifier: Apache-2.0
"""Finds videos in folders, as files or as folders of frames."""

from collections.abc import Callable, Iterable, Iterator
import contextlib
import itertools
import logging
import os
import re

from flatten_jax.inputs.sources.rows import has_video_suffix
from flatten_jax.inputs.video.container import VideoError, VideoPath
from flatten_jax.inputs.video.frame_files.frame_folder import (
  FPS,
  FrameFolder,
  FramesPath,
)
from flatten_jax.inputs.video.frame_files.frame_names import (
  has_frames,
  is_frame,
  is_zip,
)

log = logging.getLogger('flatten_jax')

# Previews, snapshots and waste of NAS boxes and systems.
DEBRIS = frozenset(
  {'@eadir', '@tmp', '@recycle', '@recently-snapshot', '@sharebin', '@snapshot'}
  | {'#recycle', '#snapshot', '$recycle.bin', 'recycler', 'lost+found'}
  | {'~snapshot', '__macosx', 'system volume information', '__pycache__'}
  | {'network trash folder', 'temporary items'}
)
UNFINISHED = re.compile(r'\.(temp|tmp)\.[^.]+$')  # Of downloads.


def is_debris(name: str) -> bool:
  """Checks whether a file or folder is hidden, or kept by a system."""
  if name.startswith(('.', '~$')) or name.lower() in DEBRIS:
    return True
  return UNFINISHED.search(name) is not None


def is_folder(entry: os.DirEntry) -> bool:
  """Checks whether an entry is a folder; links in a circle are none."""
  try:
    return entry.is_dir()
  except OSError:
    return False


def subfolders(root: str) -> list[str]:
  """Returns the names of the folders in `root`, sorted, without debris."""
  entries = filter(is_folder, os.scandir(root))
  return sorted(entry.name for entry in entries if not is_debris(entry.name))


def videos_below(folder: str, depth: int = 0) -> list[str | FramesPath]:
  """Returns all video files in a folder and below, sorted.

  If none is at least `depth` levels below it, adds folders and zip files of
  frames that are.
  """
  files, frames, empty, deep = [], [], [], 0
  for place, entries in scan(folder):
    level = os.path.relpath(place, folder).count(os.sep) + (place != folder)
    names = [entry.name for entry in entries if not is_folder(entry)]
    found = [name for name in names if has_video_suffix(name)]
    files += [os.path.join(place, name) for name in found]
    if level + 1 >= depth:
      deep += len(found)
      archives = (os.path.join(place, n) for n in names if is_zip(n))
      frames += filter(has_frames, archives)
    if level < depth or found:
      continue
    if not entries:
      empty.append(place)
    two = list(itertools.islice(filter(is_frame, names), 2))
    # A single image next to folders is a cover.
    if len(two) > (len(entries) > len(names)):
      frames.append(place)
  if deep and frames:
    log.warning(
      '%s has %d video files, so its %d folders of images, like %s, are not '
      'read as frames of videos. If they are, name all videos in a list.',
      *(folder, deep, len(frames), frames[0]),
    )
  if deep or not frames:
    return sorted(files)
  frames = without_flow(frames)
  # A zip file next to the folder that was packed is the same video.
  unpacked = {*frames}
  frames = [p for p in frames if not (is_zip(p) and p[:-4] in unpacked)]
  # Frames of these may have been lost.
  beside = {os.path.dirname(path) for path in frames}
  frames += [path for path in empty if os.path.dirname(path) in beside]
  return [*sorted(files), *map(FramesPath, sorted(frames))]


def log_frames(paths: Iterable[VideoPath], looked_at: int = 64) -> None:
  """Says at which rate folders of frames are read, and warns of wrong counts.

  Looks into a few of them only: listing all takes minutes on a network disk.
  """
  frames = [path for path in paths if isinstance(path, FramesPath)]
  if unknown := sum(not path.fps for path in frames):
    log.warning(
      'Videos that are frames have no rate (%d of them): %g frames per second '
      'are assumed; the column fps of a list can name others.',
      *(unknown, FPS),
    )
  claims = [path for path in frames if path.claimed]
  claims = claims[:: len(claims) // looked_at + 1]
  short = []
  for path in claims:
    with contextlib.suppress(VideoError), FrameFolder(path) as video:
      if video.num_frames < path.claimed:
        short.append(f'{path.path} ({video.num_frames} of {path.claimed})')
  if short:
    log.warning(
      'The list claims more frames than there are for %d of %d folders that '
      'were looked at, and the smaller number counts: %s',
      *(len(short), len(claims), ', '.join(short[:5])),
    )


# Folders of optical flow and the like, and those of frames next to them.
FLOW = re.compile('((optical_?|tvl1_?)?flow|depth|masks?)(_[xyuv])?|[xyuv]')
RGB = re.compile('(rgb|colou?r|image|img|frame|jpe?g)s?([_-]?(rgb|frame)s?)?')


def without_flow(frames: list[str]) -> list[str]:
  """Leaves out folders of optical flow, and those around others."""

  def named(pattern: re.Pattern, path: str) -> bool:
    return pattern.fullmatch(os.path.basename(path).lower()) is not None

  with_rgb = {os.path.dirname(p) for p in frames if named(RGB, p)}.union(frames)
  kept = [
    path
    for path in frames
    if not named(FLOW, path) or os.path.dirname(path) not in with_rgb
  ]
  around = set()
  for path in kept:
    while (path := os.path.dirname(path)) not in around:
      around.add(path)
  return [path for path in kept if path not in around]


def walk(
  folder: str, wanted: Callable[[str], bool] = has_video_suffix
) -> Iterator[str]:
  """Yields the paths of files with `wanted` names in a folder and below."""
  for place, entries in scan(folder):
    for entry in entries:
      if wanted(entry.name) and not is_folder(entry):
        yield os.path.join(place, entry.name)


def scan(
  folder: str, parents: frozenset = frozenset()
) -> Iterator[tuple[str, list[os.DirEntry]]]:
  """Yields a folder and those below it, with their entries but debris.

  Follows links, but not back to `parents`, the folders this one lies in.
  """
  try:
    status = os.stat(folder)
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
  except FileNotFoundError:
    return
  except OSError as error:
    log.warning('Cannot read the folder %s: %s', folder, error.strerror)
    return
  own = status.st_dev, status.st_ino
  if own in parents:
    return
  entries = [entry for entry in entries if not is_debris(entry.name)]
  yield folder, entries
  for entry in entries:
    if is_folder(entry):
      yield from scan(entry.path, parents | {own})
