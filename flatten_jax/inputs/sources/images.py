# SPDX-License-Identifier: Apache-2.0
"""Finds images in class folders, and reads them as clips of one frame."""

import logging
import os

import cv2
import numpy as np

from flatten_jax.inputs.augment import transforms
from flatten_jax.inputs.sources import folders, labels
from flatten_jax.inputs.sources.dataset import Record, Videos
from flatten_jax.inputs.video.container import VideoError, VideoPath

log = logging.getLogger('flatten_jax')

SUFFIXES = frozenset(
  {'.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp'}
)


def is_image(path: VideoPath) -> bool:
  """Checks whether a file is named like an image."""
  return os.path.splitext(str(path))[1].lower() in SUFFIXES


def read(path: VideoPath, short_side: int | None = None) -> np.ndarray:
  """Reads an image as a video of one frame, upright. -> uint8 [1 H W 3].

  Resizes its shorter side to `short_side` pixels, unless None.
  """
  try:
    encoded = np.fromfile(path, np.uint8)
  except OSError as error:
    raise VideoError(str(path), error.strerror or str(error)) from error
  # Applies the rotation in EXIF, and drops transparency.
  image = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if len(encoded) else None
  if image is None:
    raise VideoError(str(path), 'not an image that OpenCV can read')
  clip = np.ascontiguousarray(image[None, ..., ::-1])  # BGR -> RGB
  if short_side:
    shape = clip.shape[1:3]
    clip = transforms.resize(
      clip, tuple(round(side * short_side / min(shape)) for side in shape)
    )
  return clip


def add_images(splits: dict[str, Videos], root: str) -> dict[str, Videos]:
  """Adds images to the training split.

  Classes of the same name are one class; classes of images only follow the
  videos' classes, in all splits. `root` has class folders of images, or a
  folder 'train' of these.
  """
  files = find(os.path.expanduser(root))
  names = splits['train'].class_names
  numbers = {labels.canonical(name): i for i, name in enumerate(names)}
  found = sorted({name for name, _ in files})
  labels.refuse_other_encodings(found)
  for name in found:
    if numbers.setdefault(labels.canonical(name), len(names)) == len(names):
      names = (*names, name)
  records = (
    Record(os.path.relpath(path, root), path, numbers[labels.canonical(name)])
    for name, path in files
  )
  images = Videos(tuple(records), names)
  log.info(
    '%d images; %d classes, %d of them of images only',
    *(len(images), len(names), len(names) - splits['train'].num_classes),
  )
  return {
    split: Videos(videos.records, names, images if split == 'train' else None)
    for split, videos in splits.items()
  }


def find(root: str) -> list[tuple[str, str]]:
  """Returns (class, path) of every image below `root`/<class>/, sorted."""
  train = os.path.join(root, 'train')
  root = train if os.path.isdir(train) else root
  if not os.path.isdir(root):
    raise FileNotFoundError(f'data.images: there is no folder {root}')
  files = [
    (name, path)
    for name in sorted(os.listdir(root))
    if not name.startswith('.')
    for path in sorted(
      folders.walk(os.path.join(root, name), is_image), key=os.path.split
    )
  ]
  if not files:
    raise FileNotFoundError(
      f'data.images: {root} holds no images in class folders; expected '
      f'{os.path.join(root, "<class>", "*.jpg")}.'
    )
  return files
