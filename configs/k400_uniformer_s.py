# SPDX-License-Identifier: Apache-2.0
r"""UniFormer-S + Flatten on Kinetics-400: Table 5 of the paper.

  python main.py --config=configs/k400_uniformer_s.py \
      --workdir=/ckpt/k400_uniformer_s --config.data.root=/data/kinetics400
  python main.py --config=configs/k400_uniformer_s.py:frames=9 ...

Paper: 81.1 top-1 with 16 frames, 79.7 with 9; four 224 px clips per video.
Ours:  not trained yet.
"""

from flatten_jax.runtime.configuration import default_config as defaults


def get_config(arg=''):
  """`arg` picks a row of the table; `--config.x=y` changes one value."""
  arg = defaults.parse(arg, frames=16, flatten='row_major')

  config = defaults.base()
  config.flatten = arg.flatten
  config.model.name = 'uniformer_s'
  config.model.pretrained = 'imagenet1k'
  config.model.drop_path_rate = 0.1  # Ours: UniFormer's S16x4 run.
  defaults.augment(config, 'rand-m7-n4-mstd0.5-inc1')  # Ours: likewise.

  config.data.num_frames = arg.frames
  config.data.stride = defaults.by_frames(arg, {9: 8, 16: 4})  # Ours.
  config.data.short_side = 256
  config.data.num_clips = 4  # Table 5

  config.batch_size = defaults.by_frames(arg, {9: 64, 16: 24})  # Table 5
  config.lr = defaults.by_frames(arg, {9: 1e-4, 16: 5e-5})  # Table 5
  config.epochs = 110.0
  config.warmup_epochs = 10.0
  return config
