# SPDX-License-Identifier: Apache-2.0
"""Charades, whose videos have several labels."""

import functools

from data import split_lists
from data.annotations import DataSet
from data.lists import read_list
from flatten_jax.inputs.sources import published_sets

CHARADES = DataSet(
  published=published_sets.CHARADES,
  read=functools.partial(
    split_lists.read,
    lists='.csv',
    names='Charades_v1_classes.txt',
    read_rows=functools.partial(read_list, multi_label=True),
  ),
  citation=(
    'G. A. Sigurdsson et al., Hollywood in Homes: Crowdsourcing Data '
    'Collection for Activity Understanding, ECCV 2016.'
  ),
  notes=(
    'Videos have several labels: train with config.data.multi_label = True. '
    'Papers compare the mean average precision on test.',
  ),
)
