# SPDX-License-Identifier: Apache-2.0
"""Rows of the paper's Tables 1, 3 and 4: inputs, costs and accuracies.

Data only. Figures that are not known are None.
"""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Row:
  """A system at one input size.

  Attributes:
    model: its name in the registry.
    frames: of one view.
    side: of a frame that is counted, in pixels.
    gflops: of one view, as published.
    views: crops and clips of the published test.
    top1: as published, in percent; None for a second network, whose scores are
      added to those of the row before.
    top5: as published, in percent.
    notes: keys of `NOTES`, with a space between.
    label: after the name, e.g. ' + Flatten'.
    options: of the model.
  """

  model: str
  frames: int
  side: int
  gflops: float | None
  views: tuple[int, int] | None
  top1: float | None = None
  top5: float | None = None
  notes: str = ''
  label: str = ''
  options: tuple[tuple[str, Any], ...] = ()


@dataclasses.dataclass(frozen=True)
class Table:
  """A table of the paper, on one data set."""

  title: str
  num_classes: int
  rows: tuple[Row, ...]


# Models whose published costs leave out batch and layer norms.
WITHOUT_NORMS = ('i3d', 'slowfast', 'timesformer')
# Shown under the tables if a row has them.
NOTES = {
  '256': 'Published at the 256 px of the test crop; the paper prints 224 px.',
  'i3d': (
    "The Non-local paper's. 359 needs temporal kernels in only 3 of the 23 "
    'blocks of res4.'
  ),
  'vtn': (
    "3992 is ViViT-L's at 320 px, copied by mistake. VTN's own figure is 4218, "
    'without attention products and layer norms.'
  ),
  'vivit': (
    'The paper prints 16 frames, which are tubelets of two. ViViT counts every '
    'elementwise operation.'
  ),
  'vidtr': (
    'Below any full count of the published code (convolutions and linear '
    'layers alone: 555.9); 351 could not be reproduced.'
  ),
  'timesformer': (
    'Accuracies are those of the weights that its authors trained again.'
  ),
  'window': 'With windows of 24, the only ones that cost 70.9.',
  '3.3': (
    "The paper repeats 3.3 from UniFormer's README, whose authors appear to "
    'count a batch norm as 5.'
  ),
  'w16': 'With windows of 16 x 7 x 7.',
  'fe': (
    'With 4 temporal layers. The published weights for Kinetics have 24, which '
    'cost 4.3 more.'
  ),
  'tsn': (
    'The cost is that of 25 frames. Frames and views of 30.0 are not known; no '
    'repository has this figure.'
  ),
  'slowfast': "pytorchvideo's SlowFast R50 8x8; at 256 px, as on Kinetics.",
  'tdn': (
    '16 segments of 5 frames, which the paper prints as 16 frames. An R101 '
    'costs 132, and with 8 segments 66: 198 together.'
  ),
  'uniformer': "The views are ours, as in UniFormer's runs.",
  'two_stream': 'Of a frame, and of ten fields of flow; fused by an SVM.',
  'flow': 'The computation of optical flow is not counted.',
  'whole': 'A training clip; the test takes the whole video as one view.',
  'msnet': (
    'MotionSqueeze (Kwon et al., ECCV 2020); the paper cites a namesake. 67, '
    'of 16 frames (34 of 8), counts 4 for a batch norm.'
  ),
  'hmdb51': 'Quoted; the recipe and the views were not published.',
}

# Options of models.
_FULL = (('clip_shape', (64, 224, 224)),)
_LONG = (('clip_shape', (128, 224, 224)),)
_WINDOW_24 = (('window', 24),)
_SEGMENTS = (('segments', 16),)
_FRAMES_64 = (('frames', 64),)
_WINDOW_16 = (('window', (16, 7, 7)),)
_FRAMES_16 = (('frames', 16),)
_FLATTEN = ' + Flatten'
_KINETICS = (
  Row(
    'i3d_r101_nl_long359',
    128,
    256,
    359,
    (3, 10),
    77.7,
    93.3,
    '256 i3d',
    options=_LONG,
  ),
  Row('slowfast_r101', 64, 256, 213, (3, 10), 78.9, 93.5, '256', options=_FULL),
  Row(
    'slowfast_r101_nl', 64, 256, 234, (3, 10), 79.8, 93.9, '256', options=_FULL
  ),
  Row('vtn_b', 250, 224, 3992, (1, 1), 78.6, 93.7, 'vtn'),
  Row('vivit_l', 32, 224, 1446, (3, 4), 80.6, 94.7, 'vivit'),
  Row('vidtr_l', 32, 224, 351, (3, 10), 79.1, 93.9, 'vidtr'),
  Row('timesformer_b', 8, 224, 196, (3, 1), 77.9, 93.2, 'timesformer'),
  Row('timesformer_hr', 16, 448, 1703, (3, 1), 79.6, 94.0, 'timesformer'),
  Row('timesformer_l', 96, 224, 2380, (3, 1), 80.6, 94.7, 'timesformer'),
  Row('video_swin_t', 32, 224, 88, (3, 4), 78.8, 93.6),
  Row('video_swin_b', 32, 224, 282, (3, 4), 80.6, 94.6),
  Row('video_swin_b', 32, 224, 282, (3, 4), 82.7, 95.5, label=', IN-22k'),
  Row('uniformer3d_xxs', 8, 160, 3.3, (1, 1), 71.4, 89.4, '3.3'),
  Row('uniformer3d_xxs', 16, 160, 6.9, (1, 1), 75.1, 91.5),
  Row('uniformer3d_s', 8, 224, 17.6, (1, 4), 78.4, 93.3),
  Row('uniformer3d_s', 16, 224, 41.8, (1, 4), 80.8, 94.7),
  Row('uniformer_xxs', 9, 160, 10.5, (1, 1), 72.9, 90.9, label=_FLATTEN),
  Row('uniformer_xxs', 16, 160, 22.9, (1, 1), 75.9, 92.3, label=_FLATTEN),
  Row('uniformer_s', 9, 224, 47.5, (1, 4), 79.7, 94.1, label=_FLATTEN),
  Row('uniformer_s', 16, 224, 107.3, (1, 4), 81.1, 95.3, label=_FLATTEN),
  Row(
    'swinv2_t',
    16,
    192,
    70.9,
    (1, 4),
    78.6,
    93.9,
    'window',
    _FLATTEN,
    _WINDOW_24,
  ),
  Row('resnet101', 16, 224, 125, (3, 10), 76.2, 92.9, label=_FLATTEN),
)
_SSV2 = (
  Row('tsn_r50', 25, 224, 102.7, None, 30.0, 60.5, 'tsn'),
  Row('slowfast_r50', 32, 256, 65.7, None, 61.7, 86.9, 'slowfast'),
  Row('tdn_r50', 80, 224, 72, (1, 1), 65.3, 89.5, 'tdn', options=_SEGMENTS),
  Row('timesformer_b', 8, 224, 196, (3, 1), 59.1, 85.6, 'timesformer'),
  Row('timesformer_hr', 16, 448, 1703, (3, 1), 61.8, 86.9, 'timesformer'),
  Row(
    'timesformer_l',
    64,
    224,
    None,
    (3, 1),
    62.0,
    87.5,
    'timesformer',
    options=_FRAMES_64,
  ),
  Row('vivit_l_fe', 32, 224, 991, (3, 4), 65.4, 89.8, 'vivit fe'),
  Row(
    'video_swin_b', 32, 224, 321, (3, 1), 69.6, 92.7, 'w16', options=_WINDOW_16
  ),
  Row('uniformer3d_s', 16, 224, None, (3, 1), 67.7, 91.4, 'uniformer'),
  Row('uniformer_s', 16, 224, None, (3, 1), 67.9, 91.9, 'uniformer', _FLATTEN),
)
_HMDB51 = (
  Row('two_stream_spatial', 1, 224, None, (10, 25), 59.4, None, 'two_stream'),
  Row('two_stream_temporal', 1, 224, None, (10, 25), notes='flow'),
  Row('tsn_bninception', 25, 224, None, (10, 1), 68.5),
  Row('tsn_bninception_flow', 25, 224, None, (10, 1), notes='flow'),
  Row('vidtr_l', 32, 224, None, None, 74.4, None, 'hmdb51'),
  Row('i3d_inception', 64, 224, None, None, 74.8, None, 'whole'),
  Row(
    'motion_squeeze_r50',
    16,
    224,
    67,
    None,
    77.4,
    None,
    'msnet',
    options=_FRAMES_16,
  ),
  Row('uniformer3d_s', 16, 224, None, (3, 5), 77.5, 96.1, 'uniformer'),
  Row('uniformer_s', 16, 224, None, (3, 5), 82.9, 96.9, 'uniformer', _FLATTEN),
)
TABLES = (
  Table('Table 1: Kinetics-400', 400, _KINETICS),
  Table('Table 3: Something-Something V2', 174, _SSV2),
  Table('Table 4: HMDB51', 51, _HMDB51),
)
