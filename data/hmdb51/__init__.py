# SPDX-License-Identifier: Apache-2.0
"""HMDB51."""

from data.annotations import DataSet
from data.hmdb51.annotations import read
from flatten_jax.inputs.sources import published_sets

HMDB51 = DataSet(
  published=published_sets.HMDB51,
  read=read,
  citation=(
    'H. Kuehne et al., HMDB: A Large Video Database for Human Motion '
    'Recognition, ICCV 2011.'
  ),
  notes=('config.data.fold = 0, 1, 2 selects one of the published splits.',),
)
