# SPDX-License-Identifier: Apache-2.0
"""Tells the frames of a video among the files of a folder or zip file."""

import collections
from collections.abc import Iterable, Sequence
import os
import re
import zipfile

from flatten_jax.inputs.video.frame_files import still_images

EXPECTED = 'expected a folder or zip file of images like img_00001.jpg'
NUMBER = re.compile(r'\d+(?:\.\d+)*')  # With dots: seconds, as in TUM's sets.
# Images of other kinds that may lie next to frames.
OTHER = re.compile(
  r'(^|[/_. -])(flow|tvl1|depth|masks?|warp|thumb(nail)?s?|covers?|posters?)'
  r'([/_. \d-]|$)|(^|/)[xyuv][_/]?\d|(^|/)__macosx/'
)
FRAME = re.compile(r'(^|/)(im(g|age)?|frame|rgb|colou?r)s?([/_. \d-]|$)|^\d')


def is_zip(name: str) -> bool:
  """Checks whether a file is named like a zip file."""
  return name.lower().endswith('.zip')


def is_frame(name: str) -> bool:
  """Checks whether a file is named like a frame: an image with a number."""
  base = name.rpartition('/')[2]
  numbered = NUMBER.search(base) and not base.startswith('.')
  return bool(numbered) and still_images.is_image(base)


def has_frames(path: str) -> bool:
  """Checks whether a zip file contains frames, or is damaged."""
  try:
    with zipfile.ZipFile(path) as archive:
      return any(map(is_frame, archive.namelist()))
  except (OSError, zipfile.BadZipFile, RuntimeError, ValueError):
    return True  # Names that are not UTF-8 are a ValueError.


def list_folder(folder: str) -> list[str]:
  """Lists a folder, or its subfolders if these hold the frames."""
  names = os.listdir(folder)
  if any(map(is_frame, names)):
    return names
  inner = [name for name in names if os.path.isdir(os.path.join(folder, name))]
  return [
    f'{name}/{file}'
    for name in sorted(inner)[:8]  # 'rgb', 'flow_x', 'flow_y' and the like.
    for file in os.listdir(os.path.join(folder, name))
  ]


def order_frames(names: Iterable[str]) -> list[str]:
  """Chooses the frames of a video among the names of files, and sorts them.

  They are images whose names differ in numbers only: img_00001.jpg, frame1.png,
  7.webp. Raises ValueError if there are none, or if several videos have some.
  """
  images = [name for name in names if is_frame(name)]
  if not images:
    raise ValueError(f'there are no frames in it; {EXPECTED}')
  images = [name for name in images if not OTHER.search(name.lower())] or images
  groups = collections.defaultdict(list)
  for image in images:
    stem = os.path.splitext(image.lower())[0]
    groups[NUMBER.sub('#', stem)].append(image)
  found = [part for group in groups.values() for part in sequences(group)]
  # Single images are something else if there is a sequence.
  found = [s for s in found if len(s) > 1] or found
  if len(found) > 1:
    found = [s for s in found if FRAME.search(s[0].lower())] or found
  found.sort()
  if len(found) == len(images) > 1:
    raise ValueError(
      f'its images are not numbered: {", ".join(s[0] for s in found[:3])}; '
      'expected names like img_00001.jpg'
    )
  if len(found) > 1:
    examples = ', '.join(f'{s[0]} ({len(s)} images)' for s in found[:3])
    raise ValueError(
      f'it holds the frames of {len(found)} videos: {examples}'
      f'{", ..." * (len(found) > 3)}; expected a folder for each'
    )
  return found[0]


def sequences(images: list[str]) -> list[list[str]]:
  """Sorts images, whose names differ in numbers only, by one of these.

  Images without a number of their own are divided by all but the last number
  that varies.
  """
  stems = {image: os.path.splitext(image)[0] for image in images}
  texts = {image: NUMBER.findall(stem) for image, stem in stems.items()}
  columns = [ordered(column) for column in zip(*texts.values(), strict=True)]
  numbers = dict(zip(texts, zip(*columns, strict=True), strict=True))
  varying = [i for i, column in enumerate(columns) if len(set(column)) > 1]
  for i in varying:
    if len(set(columns[i])) == len(images):
      return [sorted(images, key=lambda image: numbers[image][i])]
  groups = collections.defaultdict(list)
  for image in images:
    others = list(numbers[image])
    number = others.pop(varying[-1]) if varying else ()
    kind = os.path.splitext(image.lower())[1]
    groups[kind, *others].append((number, image))
  return [[image for _, image in sorted(group)] for group in groups.values()]


def ordered(texts: Sequence[str]) -> list[tuple[int | str, ...]]:
  """Returns the numbers at one place of names as what sorts them.

  With a dot they are decimals, 0.25 before 0.5; but a series 1.9, 1.10 counts.
  """
  parts = [text.split('.') for text in texts]
  digits = [part[1] for part in parts if len(part) == 2]
  counts = len(set(map(len, digits))) > 1 and any(
    len(text) > 1 and text.endswith('0') for text in digits
  )
  if counts or max(map(len, parts)) > 2:
    return [tuple(map(int, part)) for part in parts]
  return [(int(part[0]), *part[1:]) for part in parts]
