# SPDX-License-Identifier: Apache-2.0
"""Kinetics-400; 600 and 700 have the same form."""

from data.annotations import DataSet
from data.kinetics400.annotations import read
from flatten_jax.inputs.sources.published_sets import KINETICS400

DATA_SET = DataSet(
  name=KINETICS400.name,
  read=read,
  homepage=KINETICS400.homepage,
  description=KINETICS400.description,
  citation=(
    'W. Kay et al., The Kinetics Human Action Video Dataset, '
    'arXiv:1705.06950, 2017.'
  ),
  official=KINETICS400.videos,
  num_classes=KINETICS400.num_classes,
  notes=(
    'Copies differ, and so do accuracies on them. Videos for train / val: '
    'CVDF 240258 / 19881, MMAction2 240436 / 19796, UniFormer - / 19787, '
    'ViViT 214834 / 17637.',
  ),
  id_length=11,
)
