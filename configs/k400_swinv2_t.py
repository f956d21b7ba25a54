# SPDX-License-Identifier: Apache-2.0
r"""SwinV2-T + Flatten on Kinetics-400: Table 5 of the paper.

  python main.py --config=configs/k400_swinv2_t.py \
      --workdir=/ckpt/k400_swinv2_t --config.data.root=/data/kinetics400

Paper: 78.6 top-1 with 16 frames; four 192 px clips per video. Its 70.9 GFLOPs
are those of windows of 24, and of no other size.
Ours:  not trained yet.
"""

from flatten_jax.runtime.configuration import default_config as defaults


def get_config(arg=''):
  """`:flatten=nested`; `--config.x=y` changes one value."""
  arg = defaults.parse(arg, flatten='row_major')

  config = defaults.base()
  config.flatten = arg.flatten
  config.model.name = 'swinv2_t'
  config.model.window = 24
  config.model.pretrained = 'imagenet1k'
  config.model.drop_path_rate = 0.2  # Ours: SwinV2-T's own recipe.
  defaults.augment(config, 'rand-m7-n4-mstd0.5-inc1')  # Ours: UniFormer-S's.

  config.data.short_side = 224
  config.data.num_clips = 4  # Table 5

  config.batch_size = 24  # Table 5
  config.lr = 1e-4  # Table 5
  config.epochs = 110.0
  config.warmup_epochs = 10.0
  return config
