# SPDX-License-Identifier: Apache-2.0
"""Mixes batches of videos with batches of images, which are one-frame clips.

The kind of a batch is a function of its step, so a run resumes exactly.
"""

from collections.abc import Iterator, Mapping
import fractions
import itertools

from flatten_jax.inputs import pipeline
from flatten_jax.inputs.sources.dataset import Videos


def train_batches(
  videos: Videos, data: Mapping, *, seed: int, start: int = 0, **options
) -> pipeline.Batches:
  """Makes batches like `pipeline`, a `data.image_share` of them of images.

  Images are drawn with `seed` + 1, augmented like clips, and cropped to
  `image_crop` pixels, always by area, since they have any size. Their batches
  have 'clip' [b 1 s s 3]; 'index' and 'failed' count on from the number of
  videos.
  """
  share = image_share(data)
  before = images_before(start, share)
  image_data = dict(data) | {
    'num_frames': 1,
    'sampling': 'segment',
    'crop': data['image_crop'] or data['crop'],
    'short_side': 0,
    'resize': (),
    'crop_method': 'area',
  }
  clips = pipeline.train_batches(
    videos, data, seed=seed, start=start - before, **options
  )
  images = pipeline.train_batches(
    videos.images, image_data, seed=seed + 1, start=before, **options
  )

  def interleave() -> Iterator[pipeline.Batch]:
    for step in itertools.count(start):
      if images_before(step, share) == images_before(step + 1, share):
        yield next(clips)
        continue
      batch = next(images)
      for key in ('index', 'failed'):
        number = batch[key]
        batch[key] = number + len(videos) * (number >= 0).astype(number.dtype)
      yield batch

  def close():
    clips.close()
    images.close()

  return pipeline.Batches(interleave(), close)


def image_share(data: Mapping) -> fractions.Fraction:
  """Returns the share of steps with images, exactly as it was written."""
  share = fractions.Fraction(str(data['image_share']))
  if not 0 < share < 1:
    raise ValueError(
      'data.image_share is a share of the steps, more than 0 and less than 1, '
      f'not {data["image_share"]}.'
    )
  return share


def images_before(step: int, share: fractions.Fraction) -> int:
  """Returns the number of steps with images before this one; evenly spread."""
  return int(step * share)
