# SPDX-License-Identifier: Apache-2.0
"""Kinetics-400, -600, -700 and -700-2020, whose tables have one form."""

from data.annotations import DataSet
from data.kinetics.annotations import read
from flatten_jax.inputs.sources import published_sets

_COPIES = (
  'Copies differ, and so do accuracies on them. Videos for train / val: '
)
_NOTES = {
  'kinetics400': (
    f'{_COPIES}CVDF 240258 / 19881, MMAction2 240436 / 19796, UniFormer - / '
    '19787, ViViT 214834 / 17637.'
  ),
  'kinetics600': f'{_COPIES}MMAction2 383393 / 27910.',
  'kinetics700': f'{_COPIES}MMAction2 542357 / 34824.',
}
_CITATIONS = {
  'kinetics400': (
    'W. Kay et al., The Kinetics Human Action Video Dataset, '
    'arXiv:1705.06950, 2017.'
  ),
  'kinetics600': (
    'J. Carreira et al., A Short Note about Kinetics-600, arXiv:1808.01340, '
    '2018.'
  ),
  'kinetics700': (
    'J. Carreira et al., A Short Note on the Kinetics-700 Human Action '
    'Dataset, arXiv:1907.06987, 2019.'
  ),
  'kinetics700_2020': (
    'L. Smaira et al., A Short Note on the Kinetics-700-2020 Human Action '
    'Dataset, arXiv:2010.10864, 2020.'
  ),
}
KINETICS = tuple(
  DataSet(
    published=published,
    read=read,
    citation=_CITATIONS[published.name],
    notes=(_NOTES[published.name],) if published.name in _NOTES else (),
    id_length=11,
  )
  for published in published_sets.KINETICS
)
