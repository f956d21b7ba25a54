# SPDX-License-Identifier: Apache-2.0
"""UCF101, whose splits are read as those of HMDB51."""

from data.annotations import DataSet
from data.hmdb51.annotations import read
from flatten_jax.inputs.sources import published_sets

UCF101 = DataSet(
  published=published_sets.UCF101,
  read=read,
  citation=(
    'K. Soomro, A. R. Zamir and M. Shah, UCF101: A Dataset of 101 Human '
    'Actions Classes From Videos in The Wild, CRCV-TR-12-01, 2012.'
  ),
  notes=('config.data.fold = 0, 1, 2 selects one of the published splits.',),
)
