# SPDX-License-Identifier: Apache-2.0
r"""ResNet-101 + Flatten on Kinetics-400: Table 5 of the paper.

  python main.py --config=configs/k400_resnet101.py \
      --workdir=/ckpt/k400_resnet101 --config.data.root=/data/kinetics400

Paper: 76.2 top-1 with 16 frames; 3 crops of 10 clips of 224 px per video.
Ours:  not trained yet.
"""

from flatten_jax.runtime.configuration import default_config as defaults


def get_config(arg=''):
  """`:flatten=nested`; `--config.x=y` changes one value."""
  arg = defaults.parse(arg, flatten='row_major')

  config = defaults.base()
  config.flatten = arg.flatten
  config.model.name = 'resnet101'
  config.model.pretrained = 'imagenet1k'
  defaults.augment(config, 'rand-m7-n4-mstd0.5-inc1')  # Ours: UniFormer-S's.

  config.data.short_side = 256
  config.data.num_crops = 3  # Table 5
  config.data.num_clips = 10  # Table 5

  config.batch_size = 64  # Table 5
  config.lr = 2e-4  # Table 5
  config.epochs = 110.0
  config.warmup_epochs = 10.0
  return config
