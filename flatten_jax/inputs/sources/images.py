# SPDX-License-Identifier: Apache-2.0
"""Finds images in class folders, which are trained on as clips of one frame."""

import dataclasses
import logging
import os

from flatten_jax.inputs.sources import class_folders, folders, labels
from flatten_jax.inputs.sources.videos import Record, Videos, training_videos
from flatten_jax.inputs.video.frame_files.still_images import is_image

log = logging.getLogger('flatten_jax')


def add_images(splits: dict[str, Videos], root: str) -> dict[str, Videos]:
  """Adds images to the training split.

  Classes of the same name are one class; classes of images only follow the
  videos' classes, in all splits. `root` has class folders of images, or a
  folder 'train' of these.
  """
  files = find(os.path.expanduser(root))
  names = training_videos(splits).class_names
  numbers = {labels.canonical(name): i for i, name in enumerate(names)}
  found = sorted({name for name, _ in files})
  labels.refuse_other_encodings(found)
  for name in found:
    if numbers.setdefault(labels.canonical(name), len(names)) == len(names):
      names = (*names, name)
  labels.index_by_name(names)  # Refuses names that look alike.
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
    split: dataclasses.replace(
      videos, class_names=names, images=images if split == 'train' else None
    )
    for split, videos in splits.items()
  }


def find(root: str) -> list[tuple[str, str]]:
  """Returns (class, path) of every image below `root`/<class>/, sorted."""
  if not os.path.isdir(root):
    raise FileNotFoundError(f'data.images: there is no folder {root}')

  def images_below(folder: str, depth: int) -> list[str]:
    return list(folders.walk(folder, is_image))

  rows = class_folders.find_rows(root, 0, images_below)
  splits = class_folders.split_folders(root, rows)
  root = os.path.join(root, splits.get('train', ''))
  files = [
    (name, path)
    for name in folders.subfolders(root)
    for path in sorted(
      images_below(os.path.join(root, name), 0), key=os.path.split
    )
  ]
  if not files:
    raise FileNotFoundError(
      f'data.images: {root} holds no images in class folders; expected '
      f'{os.path.join(root, "<class>", "*.jpg")}.'
    )
  return files
