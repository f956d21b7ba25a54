# SPDX-License-Identifier: Apache-2.0
"""Lists the folds of a data set: the values that `data.fold` can take."""

from collections.abc import Mapping
import os

from flatten_jax.inputs.sources import dataset, hmdb51_splits, prepared


def fold_numbers(data: Mapping) -> list[int]:
  """Returns the possible values of `data.fold`.

  They are published splits (HMDB51 has three), the numbers in a list's `fold`
  column, or `data.folds` folds that are drawn by class.

  Raises:
    ValueError: the data is split already, by lists or folders.
  """
  if data['motion_clips']:
    raise ValueError(
      'The embedded set is divided already: it has no folds. For several runs '
      'of it use other seeds (--config.seed), or --mode=ablate --seeds=3.'
    )
  if any(data[split] for split in ('train', 'val', 'test')):
    raise ValueError(
      'data.train and data.test divide the videos already. For folds set '
      'data.root to a class folder, a list or a prepared set.'
    )
  if data['split_dir']:
    return list(range(hmdb51_splits.count(data['split_dir'])))
  root = dataset.expand(data['root'])
  found = 0
  if os.path.isfile(root):
    rows = dataset.open_list(root, data)
    listed = {row.fold for row in rows if row.fold is not None}
    if listed:
      return sorted(listed)
  elif os.path.isdir(root) and prepared.is_prepared(root):
    found = prepared.count_published_splits(root)
  elif os.path.isdir(root) and 'train' in dataset.match_splits(root):
    raise ValueError(f'{root} is divided already: it has splits of its own.')
  return list(range(found or data['folds']))
