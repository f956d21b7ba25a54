# SPDX-License-Identifier: Apache-2.0
"""HMDB51."""

from data.annotations import DataSet
from data.hmdb51.annotations import read

DATA_SET = DataSet(
  name='hmdb51',
  read=read,
  homepage=(
    'https://serre-lab.clps.brown.edu/resource/'
    'hmdb-a-large-human-motion-database/'
  ),
  description='Clips of films and web videos, 51 actions, three splits.',
  citation=(
    'H. Kuehne et al., HMDB: A Large Video Database for Human Motion '
    'Recognition, ICCV 2011.'
  ),
  official={'videos': 6_766},
  num_classes=51,
  notes=(
    'Each of the three published splits trains on 3570 videos and tests on '
    '1530. config.data.fold = 0, 1, 2 selects one.',
  ),
)
