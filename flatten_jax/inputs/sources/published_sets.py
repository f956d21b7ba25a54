# SPDX-License-Identifier: Apache-2.0
"""The published data sets that configs are for, and their sizes."""

from collections.abc import Mapping
import dataclasses


@dataclasses.dataclass(frozen=True)
class PublishedSet:
  """A published data set.

  Attributes:
    name: of the prepared set.
    title: as papers write it.
    prefix: of the names of its configs.
    homepage: its web page.
    description: one sentence.
    num_classes: of videos.
    videos: their number by split, as the official annotations count them;
      'videos' has that of all, where splits share them.
  """

  name: str
  title: str
  prefix: str
  homepage: str
  description: str
  num_classes: int
  videos: Mapping[str, int]


KINETICS400 = PublishedSet(
  name='kinetics400',
  title='Kinetics-400',
  prefix='k400',
  homepage='https://github.com/cvdfoundation/kinetics-dataset',
  description='Ten-second clips of YouTube videos, 400 human actions.',
  num_classes=400,
  videos={'train': 246_534, 'val': 19_906, 'test': 39_805},
)
SOMETHING_SOMETHING_V2 = PublishedSet(
  name='something_something_v2',
  title='Something-Something V2',
  prefix='ssv2',
  homepage=(
    'https://www.qualcomm.com/developer/software/something-something-v-2-dataset'
  ),
  description='People doing 174 basic things with everyday objects.',
  num_classes=174,
  videos={'train': 168_913, 'val': 24_777, 'test': 27_157},
)
HMDB51 = PublishedSet(
  name='hmdb51',
  title='HMDB51',
  prefix='hmdb51',
  homepage=(
    'https://serre-lab.clps.brown.edu/resource/'
    'hmdb-a-large-human-motion-database/'
  ),
  description='Clips of films and web videos, 51 actions, three splits.',
  num_classes=51,
  videos={'videos': 6_766},
)
PUBLISHED_SETS = (KINETICS400, SOMETHING_SOMETHING_V2, HMDB51)
