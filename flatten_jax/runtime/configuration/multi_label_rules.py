# SPDX-License-Identifier: Apache-2.0
"""Rules of `data.multi_label`: the defaults that it changes, and refusals."""

import ml_collections

# Keys that need one label per video: what they would do, and what to write.
ONE_LABEL_ONLY = {
  'data.balanced': (
    'draws videos by their one class',
    '--config.data.balanced=False, or data.weighted',
  ),
  'data.images': ('has one class for each image', '--config.data.images='),
  'data.split_dir': (
    'has one class for each video',
    '--config.data.split_dir=',
  ),
  'order_report': (
    'tells one answer from another',
    '--config.order_report=False',
  ),
}
ACCURACIES = ('top1', 'top5', 'mean_class')


def adapt(config: ml_collections.ConfigDict) -> None:
  """Replaces, in place, defaults that are about one label per video.

  The best validation is that of the highest 'map', and the views of a video are
  averaged after the sigmoid.
  """
  if config.data.multi_label:
    if config.save_best_by == 'top1':
      config.save_best_by = 'map'
    config.eval_average = config.eval_average or 'probs'


def check(config: ml_collections.ConfigDict) -> None:
  """Refuses keys that make no sense with, or without, several labels.

  Raises:
    ValueError: the message names both keys.
  """
  several = config.data.multi_label
  if config.save_best_by == 'map' and not several:
    raise ValueError(
      "config.save_best_by='map', the mean average precision, needs "
      "config.data.multi_label=True. Use 'top1'."
    )
  if config.save_best_by in ACCURACIES and several:
    raise ValueError(
      f'config.save_best_by={config.save_best_by!r} is an accuracy of one '
      "label per video; with config.data.multi_label=True use 'map' or 'loss'."
    )
  if config.data.motions == 'several' and not several:
    raise ValueError(
      "config.data.motions='several' shows several motions in a video: set "
      '--config.data.multi_label=True too.'
    )
  for key, (why, instead) in ONE_LABEL_ONLY.items():
    section, _, name = key.rpartition('.')
    value = (config[section] if section else config)[name]
    if several and value:
      raise ValueError(
        f'config.{key} {why}, and with config.data.multi_label=True a video '
        f'has several. Write {instead}.'
      )
