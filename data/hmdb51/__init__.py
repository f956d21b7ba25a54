# SPDX-License-Identifier: Apache-2.0
"""HMDB51."""

from data.annotations import DataSet
from data.hmdb51.annotations import read
from flatten_jax.inputs.sources.published_sets import HMDB51

DATA_SET = DataSet(
  name=HMDB51.name,
  read=read,
  homepage=HMDB51.homepage,
  description=HMDB51.description,
  citation=(
    'H. Kuehne et al., HMDB: A Large Video Database for Human Motion '
    'Recognition, ICCV 2011.'
  ),
  official=HMDB51.videos,
  num_classes=HMDB51.num_classes,
  notes=(
    'Each of the three published splits trains on 3570 videos and tests on '
    '1530. config.data.fold = 0, 1, 2 selects one.',
  ),
)
