# SPDX-License-Identifier: Apache-2.0
r"""UniFormer-S + Flatten on Something-Something V2: Table 6 of the paper.

  python main.py --config=configs/ssv2_uniformer_s.py --workdir=/ckpt/ssv2 \
      --config.data.root=/data/ssv2 \
      --config.model.pretrained=/ckpt/k400_uniformer_s

Paper: 67.9 top-1, 91.9 top-5 with 16 frames, from its K400 weights.
Ours:  not trained yet.
"""

from configs import common


def get_config(arg=''):
  """`:flatten=nested`; `--config.x=y` changes one value."""
  arg = common.parse(arg, flatten='row_major')

  config = common.base()
  config.flatten = arg.flatten
  config.model.name = 'uniformer_s'
  # The workdir of a k400_uniformer_s run, whose normalisation this keeps.
  config.model.pretrained = '/ckpt/k400_uniformer_s'
  config.mean, config.std = common.IMAGENET_MEAN, common.IMAGENET_STD
  # Ours, as all of data: UniFormer's S16 run on SSv2.
  config.model.drop_path_rate = 0.3
  common.augment(config, 'rand-m7-n4-mstd0.5-inc1')
  config.data.flip = False  # Left and right are labels.

  config.data.num_frames = 16  # Table 6
  config.data.sampling = 'segment'
  config.data.short_side = 256
  config.data.crop = 224
  config.data.num_crops = 3

  config.batch_size = 24  # The paper's, as the rest.
  config.lr = 1e-4
  config.epochs = 25.0
  config.warmup_epochs = 5.0
  return config
