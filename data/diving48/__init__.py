# SPDX-License-Identifier: Apache-2.0
"""Diving48, in the labels of version 2 or 1."""

import functools

from data import split_lists
from data.annotations import DataSet
from flatten_jax.inputs.sources import published_sets

DIVING48 = DataSet(
  published=published_sets.DIVING48,
  read=functools.partial(
    split_lists.read,
    lists='.json',
    names='Diving48_vocab.json',
    newest='V2',
  ),
  citation=(
    'Y. Li, Y. Li and N. Vasconcelos, RESOUND: Towards Action Recognition '
    'without Representation Bias, ECCV 2018.'
  ),
  notes=(
    'The published numbers are those of version 2, which corrects the labels. '
    'Version 1 has 15943 videos for train and 2096 for test: say which one an '
    'accuracy is on.',
  ),
)
