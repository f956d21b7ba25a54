# SPDX-License-Identifier: Apache-2.0
"""Kinetics-400; 600 and 700 have the same form."""

from data.annotations import DataSet
from data.kinetics400.annotations import read

DATA_SET = DataSet(
  name='kinetics400',
  read=read,
  homepage='https://github.com/cvdfoundation/kinetics-dataset',
  description='Ten-second clips of YouTube videos, 400 human actions.',
  citation=(
    'W. Kay et al., The Kinetics Human Action Video Dataset, '
    'arXiv:1705.06950, 2017.'
  ),
  official={'train': 246_534, 'val': 19_906, 'test': 39_805},
  num_classes=400,
  notes=(
    'Copies differ, and so do accuracies on them. Videos for train / val: '
    'CVDF 240258 / 19881, MMAction2 240436 / 19796, UniFormer - / 19787, '
    'ViViT 214834 / 17637.',
  ),
  id_length=11,
)
