# SPDX-License-Identifier: Apache-2.0
"""Jester."""

import functools

from data import split_lists
from data.annotations import DataSet
from data.jester.annotations import read_rows
from flatten_jax.inputs.sources import published_sets

JESTER = DataSet(
  published=published_sets.JESTER,
  read=functools.partial(
    split_lists.read,
    lists='.csv',
    names='jester-v1-labels.csv',
    read_rows=read_rows,
  ),
  citation=(
    'J. Materzynska et al., The Jester Dataset: A Large-Scale Video Dataset of '
    'Human Gestures, ICCV Workshops 2019.'
  ),
  notes=(
    'Left and right, and clockwise and counterclockwise, are labels: do not '
    'flip (config.data.flip = False), or exchange the labels '
    '(config.data.flip_pairs).',
  ),
)
