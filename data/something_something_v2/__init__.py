# SPDX-License-Identifier: Apache-2.0
"""Something-Something V2."""

from data.annotations import DataSet
from data.something_something_v2.annotations import read
from flatten_jax.inputs.sources.published_sets import SOMETHING_SOMETHING_V2

DATA_SET = DataSet(
  name=SOMETHING_SOMETHING_V2.name,
  read=read,
  homepage=SOMETHING_SOMETHING_V2.homepage,
  description=SOMETHING_SOMETHING_V2.description,
  citation=(
    'R. Goyal et al., The "something something" video database for learning '
    'and evaluating visual common sense, ICCV 2017.'
  ),
  official=SOMETHING_SOMETHING_V2.videos,
  num_classes=SOMETHING_SOMETHING_V2.num_classes,
  notes=(
    'Left and right are part of the labels: do not flip (config.data.flip = '
    'False), or exchange the labels (config.data.flip_pairs).',
  ),
)
