# SPDX-License-Identifier: Apache-2.0
r"""UniFormer-XXS + Flatten on Kinetics-400: Tables 1, 2 and 5 of the paper.

  python main.py --config=configs/k400_uniformer_xxs.py \
      --workdir=/ckpt/k400_uniformer_xxs --config.data.root=/data/kinetics400
  python main.py --config=configs/k400_uniformer_xxs.py:frames=9 ...
  python main.py --config=configs/k400_uniformer_xxs.py:flatten=nested ...

Paper: 75.9 top-1 with 16 frames, 72.9 with 9; one 160 px view per video.
Layouts, 16 frames: row-major 75.87, nested 75.83, random 71.1.
Ours:  not trained yet.
"""

from flatten_jax.runtime.configuration import default_config as defaults


def get_config(arg=''):
  """`arg` picks a row of the tables; `--config.x=y` changes one value."""
  arg = defaults.parse(arg, frames=16, flatten='row_major')

  config = defaults.base()
  config.flatten = arg.flatten
  config.model.name = 'uniformer_xxs'
  config.model.pretrained = 'imagenet1k'
  # Ours, as all below: UniFormer's XXS run.
  config.model.drop_path_rate = 0.05
  defaults.augment(config, 'rand-m5-n2-mstd0.25')

  config.data.num_frames = arg.frames
  config.data.short_side = 192

  config.batch_size = defaults.by_frames(arg, {9: 128, 16: 64})  # Table 5
  config.lr = 5e-4  # Table 5, for both
  config.epochs = 110.0
  config.warmup_epochs = 10.0
  return config
