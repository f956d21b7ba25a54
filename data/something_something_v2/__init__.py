# SPDX-License-Identifier: Apache-2.0
"""Something-Something V2."""

from data.annotations import DataSet
from data.something_something_v2.annotations import read
from flatten_jax.inputs.sources import published_sets

SOMETHING_SOMETHING_V2 = DataSet(
  published=published_sets.SOMETHING_SOMETHING_V2,
  read=read,
  citation=(
    'R. Goyal et al., The "something something" video database for learning '
    'and evaluating visual common sense, ICCV 2017.'
  ),
  notes=(
    'Left and right are part of the labels: do not flip (config.data.flip = '
    'False), or exchange the labels (config.data.flip_pairs).',
  ),
)
