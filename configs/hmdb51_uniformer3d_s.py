# SPDX-License-Identifier: Apache-2.0
r"""UniFormer(3D)-S on HMDB51: the baseline of Table 7.

  python main.py --mode=cross_validate \
      --config=configs/hmdb51_uniformer3d_s.py \
      --workdir=/ckpt/hmdb51_uniformer3d_s --config.data.root=/data/hmdb51

Paper: 77.5 top-1, 96.1 top-5 with 16 frames.
Ours:  not trained yet.
"""

from flatten_jax.runtime.configuration import default_config as defaults


def get_config(arg=''):
  """`--config.x=y` changes one value."""
  defaults.parse(arg)

  config = defaults.base()
  config.model.name = 'uniformer3d_s'  # Takes clips: no layout.
  config.model.pretrained = 'kinetics400'  # UniFormer's; or a workdir of ours.
  # The paper does not describe the training of its baselines. Ours, all below:
  # UniFormer's S16 run on HMDB51.
  config.model.drop_path_rate = 0.2
  defaults.augment(config, 'rand-m5-n2-mstd0.25')

  config.data.short_side = 256
  config.data.num_crops = 3
  config.data.num_clips = 5

  config.batch_size = 128
  config.lr = 5e-5
  config.epochs = 25.0
  config.warmup_epochs = 5.0
  return config
