# SPDX-License-Identifier: Apache-2.0
"""The published data sets that can be prepared by name, and their sizes."""

from collections.abc import Mapping
import dataclasses


@dataclasses.dataclass(frozen=True)
class PublishedSet:
  """A published data set.

  Attributes:
    name: of the prepared set.
    title: as papers write it.
    prefix: of the names of its configs; those of another set if it has none.
    homepage: its web page.
    description: one sentence.
    num_classes: of videos; 0 if it is not known beforehand.
    videos: their number by split, as the official annotations count them;
      'videos' has that of all, where splits share them.
    folds: numbers of training and test videos of each published split, where
      splits share the videos.
    flags: what training on it needs besides a config, on the command line.
  """

  name: str
  title: str = ''
  prefix: str = ''
  homepage: str = ''
  description: str = ''
  num_classes: int = 0
  videos: Mapping[str, int] = dataclasses.field(default_factory=dict)
  folds: tuple[tuple[int, int], ...] = ()
  flags: str = ''


def _kinetics(name: str, classes: int, **videos: int) -> PublishedSet:
  """Returns an edition of Kinetics; `name` is what follows 'Kinetics-'."""
  return PublishedSet(
    name=f'kinetics{name.replace("-", "_")}',
    title=f'Kinetics-{name}',
    prefix='k400',
    homepage='https://github.com/cvdfoundation/kinetics-dataset',
    description=f'Ten-second clips of YouTube videos, {classes} human actions.',
    num_classes=classes,
    videos=videos,
  )


KINETICS = (
  _kinetics('400', 400, train=246_534, val=19_906, test=39_805),
  # Releases differ in whether the held-out part of the test is with it.
  _kinetics('600', 600, train=392_622, val=30_001),
  _kinetics('700', 700, train=545_317, val=35_000, test=70_000),
  _kinetics('700-2020', 700, train=545_793, val=34_256, test=67_858),
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
  folds=((3_570, 1_530),) * 3,
)
UCF101 = PublishedSet(
  name='ucf101',
  title='UCF101',
  prefix='hmdb51',
  homepage='https://www.crcv.ucf.edu/data/UCF101.php',
  description='Clips of YouTube videos, 101 actions, three splits.',
  num_classes=101,
  videos={'videos': 13_320},
  folds=((9_537, 3_783), (9_586, 3_734), (9_624, 3_696)),
)
JESTER = PublishedSet(
  name='jester',
  title='Jester',
  prefix='ssv2',
  homepage='https://www.qualcomm.com/developer/software/jester-dataset',
  description='People making 27 hand gestures in front of a webcam, as frames.',
  num_classes=27,
  videos={'train': 118_562, 'val': 14_787, 'test': 14_743},
  flags='--flip=False',
)
DIVING48 = PublishedSet(
  name='diving48',
  title='Diving48',
  prefix='ssv2',
  homepage='http://www.svcl.ucsd.edu/projects/resound/dataset.html',
  description='Competitive dives, 48 sequences of positions, with version 2.',
  num_classes=48,
  videos={'train': 15_027, 'test': 1_970},
  flags='--flip=False',
)
CHARADES = PublishedSet(
  name='charades',
  title='Charades',
  prefix='k400',
  homepage='https://prior.allenai.org/projects/charades',
  description='Half a minute at home each, several of 157 actions in a video.',
  num_classes=157,
  videos={'train': 7_985, 'test': 1_863},
  flags='--multi_label=True',
)
PUBLISHED_SETS = (
  *KINETICS,
  *(SOMETHING_SOMETHING_V2, HMDB51, UCF101, JESTER, DIVING48, CHARADES),
)
# The sets that configs were written for, by the prefix of their names.
WITH_CONFIGS = {
  published.prefix: published
  for published in (KINETICS[0], SOMETHING_SOMETHING_V2, HMDB51)
}
