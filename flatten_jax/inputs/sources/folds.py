# SPDX-License-Identifier: Apache-2.0
"""Which divisions into training and test a data set has: its `data.fold`s."""

from collections.abc import Mapping
import os

from flatten_jax.inputs.sources import dataset, hmdb51_splits, prepared


def fold_numbers(data: Mapping) -> list[int]:
  """What `data.fold` can be.

  That is a published division (HMDB51 has three), a number of the list's `fold`
  column, or one of `data.folds` that are drawn by class.

  Raises:
    ValueError: the data is divided already, by lists or folders of splits.
  """
  if data.get('motion_clips', 0):
    raise ValueError(
      'The embedded set is divided already: it has no folds. For several runs '
      'of it use other seeds (--config.seed), or --mode=ablate --seeds=3.'
    )
  if any(data[split] for split in ('train', 'val', 'test')):
    raise ValueError(
      'data.train and data.test divide the videos already. For folds set '
      'data.root to a class folder, a list or a prepared set.'
    )
  if data.get('split_dir', ''):
    return list(range(hmdb51_splits.count(data['split_dir'])))
  root = dataset.expand(data['root'])
  if os.path.isfile(root):
    rows = dataset.open_list(root, data)
    found = {row.fold for row in rows if row.fold is not None}
    return sorted(found) or list(range(data['folds']))
  if os.path.isdir(root) and prepared.is_prepared(root):
    found = published_divisions(root)
  elif os.path.isdir(root) and 'train' in dataset.match_splits(root):
    raise ValueError(f'{root} is divided already: it has splits of its own.')
  else:
    found = 0
  return list(range(found or data['folds']))


def published_divisions(folder: str) -> int:
  """How many divisions a prepared set stores; 0 where it is divided once."""
  splits = list(prepared.open_builder(folder).info.splits)
  cells = prepared.read_split(folder, splits[0]) if splits else []
  found = sum(key.startswith('role_') for key in cells[0]) if cells else 0
  if not found and 'train' in prepared.named_like_ours(dict.fromkeys(splits)):
    raise ValueError(f'{folder} is divided already: it has splits of its own.')
  return found
