# SPDX-License-Identifier: Apache-2.0
"""Warnings about tests that say little: few videos, few steps, known videos."""

import logging
from typing import Any

import ml_collections

from flatten_jax.evaluation import certainty
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.runtime import context
from flatten_jax.runtime.configuration import recipe_rules

log = logging.getLogger('flatten_jax')

FEW = 30  # Videos, of which the interval is 34 points wide or less.


def about(
  config: ml_collections.ConfigDict,
  splits: dict[str, Videos],
  split: str,
  scores: dict[str, Any],
  refit: bool = False,
) -> list[str]:
  """Returns sentences about a test that says little.

  Args:
    config: of the test.
    splits: of the data.
    split: that was tested.
    scores: of the test.
    refit: whether the tested weights were trained on the val split too.
  """
  data = config.data
  divided = data.motion_clips or data.train or data.fold >= 0
  learned = 'train' in splits
  texts = [few_videos(scores, folds=learned and not divided)]
  if refit and split == 'val':
    texts.append(
      'These weights were trained on the val split too (config.refit): its '
      'score says nothing about new videos.'
    )
  if learned:
    texts.insert(0, recipe_rules.few_steps(config, len(splits['train'])))
  return [text for text in texts if text]


def few_videos(scores: dict[str, Any], folds: bool = False) -> str:
  """Returns a sentence about a test of few videos; '' if there are enough.

  Args:
    scores: of the test.
    folds: whether folds would test more videos.
  """
  if not 0 < scores['scored'] < FEW:
    return ''
  count = scores['scored']
  text = f'Only {count} test {"video" if count == 1 else "videos"}: '
  low, high = certainty.interval_of(scores)
  score = 'mAP' if 'map' in scores else 'top-1'
  text += f'the 95 % interval of the {score} is {high - low:.0f} points wide.'
  return text + ' Folds test all videos: --mode=cross_validate.' * folds


def warn_of_training_videos(
  own_config: ml_collections.ConfigDict, videos: Videos, refit: bool
) -> None:
  """Warns if tested videos are among those that the run was trained on.

  Args:
    own_config: of the training.
    videos: that were tested.
    refit: as for `about`.
  """
  try:
    splits = context.open_videos(own_config)
    records = splits['train'].records
  except (OSError, ValueError, KeyError):  # They may be gone.
    return
  if refit and 'val' in splits:
    records += splits['val'].records
  trained = {(str(video.path), video.start) for video in records}
  if found := sum((str(v.path), v.start) in trained for v in videos.records):
    log.warning(
      'The run was trained on %d of these %d videos: their score says nothing '
      'about new ones',
      *(found, len(videos)),
    )
