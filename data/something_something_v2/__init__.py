# SPDX-License-Identifier: Apache-2.0
"""Something-Something V2."""

from data.annotations import DataSet
from data.something_something_v2.annotations import read

DATA_SET = DataSet(
  name='something_something_v2',
  read=read,
  homepage=(
    'https://www.qualcomm.com/developer/software/something-something-v-2-dataset'
  ),
  description='People doing 174 basic things with everyday objects.',
  citation=(
    'R. Goyal et al., The "something something" video database for learning '
    'and evaluating visual common sense, ICCV 2017.'
  ),
  official={'train': 168_913, 'val': 24_777, 'test': 27_157},
  num_classes=174,
  notes=(
    'Left and right are part of the labels: do not flip (config.data.flip = '
    'False), or exchange the labels (config.data.flip_pairs).',
  ),
)
