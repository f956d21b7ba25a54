# SPDX-License-Identifier: Apache-2.0
r"""UniFormer(3D)-S on Something-Something V2: the baseline of Table 6.

  python main.py --config=configs/ssv2_uniformer3d_s.py \
      --workdir=/ckpt/ssv2_uniformer3d_s --config.data.root=/data/ssv2

Paper: 67.7 top-1, 91.4 top-5 with 16 frames.
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
  # UniFormer's S16 run on SSv2.
  config.model.drop_path_rate = 0.3
  defaults.augment(config, 'rand-m7-n4-mstd0.5-inc1')
  config.data.flip = False  # Left and right are labels.

  config.data.sampling = 'segment'
  config.data.short_side = 256
  config.data.num_crops = 3

  config.batch_size = 32
  config.lr = 2e-4
  config.epochs = 50.0
  config.warmup_epochs = 5.0
  return config
