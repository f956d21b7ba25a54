# SPDX-License-Identifier: Apache-2.0
r"""ViT-B-VTN on Kinetics-400: a row of Table 1 of the paper.

  python main.py --config=configs/k400_vtn_b.py --workdir=/ckpt/k400_vtn_b \
      --config.data.root=/data/kinetics400

Their paper: 78.6 top-1, 93.7 top-5 with 250 frames of the whole video as one
view. Published: the weights, 'kinetics400', 77.72 and 93.24. Both have 3
temporal layers.
Ours:  not trained yet.
"""

from flatten_jax.runtime.configuration import default_config as defaults


def get_config(arg=''):
  """`--config.x=y` changes one value."""
  defaults.parse(arg)

  config = defaults.base()
  defaults.plain(config)
  defaults.steps(config, 13, 24)
  config.model.name = 'vtn_b'
  config.model.pretrained = 'imagenet21k'

  config.data.short_side = 320
  config.data.crop_method = 'scale'  # To a short side of 256 to 320.
  config.data.crop_scale = (0.8, 1.0)

  config.batch_size = 16  # 4 devices of 4 clips.
  config.lr = 1e-3
  config.nesterov = True
  config.weight_decay = 1e-4
  config.epochs = 25.0
  return config
