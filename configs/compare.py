# SPDX-License-Identifier: Apache-2.0
r"""Every system that the paper compares with, on the same clips and budget.

  python main.py --mode=compare --config=configs/compare.py \
      --workdir=runs/compare --seeds=3
  python main.py --mode=compare --config=configs/compare.py \
      --workdir=runs/compare --systems=uniformer_nano,slowfast_nano
  python main.py --mode=compare --config=configs/compare.py:clips=0 \
      --workdir=runs/compared_gestures --config.data.root=/videos/clips.csv \
      --config.compare.budget=gflops

Nano twins of 0.6 to 0.9 M parameters, from scratch, by the quickstart's recipe.
Each gets the frames that it needs of the same videos.
"""

from configs import common, quickstart

# Changes of the config by system; the first one sets the budget.
SYSTEMS = {
  'uniformer_nano': {},
  'uniformer_nano_nested': {
    'model.name': 'uniformer_nano',
    'flatten': 'nested',
    'data.num_frames': 16,  # It has no layout of nine.
  },
  'uniformer_nano_random': {
    'model.name': 'uniformer_nano',
    'flatten': 'random',
  },
  'resnet_nano': {},
  'swinv2_nano': {},
  'uniformer3d_nano': {},
  'tsn_nano': {'model.name': 'resnet_nano', 'clip_model': 'average'},
  'two_stream_spatial_nano': {'data.short_side': 64},
  'two_stream_temporal_nano': {'data.short_side': 64},
  'i3d_nano': {},
  'i3d_nano_nl': {},
  'slowfast_nano': {},
  'tdn_nano': {'data.short_side': 36},  # It takes frames of 33 px or more.
  'motion_squeeze_nano': {},
  'timesformer_nano': {},
  'vivit_nano': {},
  'vtn_nano': {},
  'vidtr_nano': {},
  'video_swin_nano': {},
}


def get_config(arg=''):
  """`:clips=0` is for other videos, of `--config.data.root`."""
  arg = common.parse(arg, clips=2400)

  config = quickstart.get_config(f'clips={arg.clips}')
  config.data.num_frames = 0  # As the model.
  config.data.sampling = ''
  config.data.crop = 0
  config.compare = common.compare()
  config.compare.systems = tuple(SYSTEMS.items())
  return config
