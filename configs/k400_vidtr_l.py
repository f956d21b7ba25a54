# SPDX-License-Identifier: Apache-2.0
r"""VidTr-L on Kinetics-400: a row of Table 1 of the paper.

  python main.py --config=configs/k400_vidtr_l.py \
      --workdir=/ckpt/k400_vidtr_l --config.data.root=/data/kinetics400

Published: 79.1 top-1, 93.9 top-5 with 32 frames; 3 crops of 10 clips, whose
probabilities are averaged. Also published: the weights, 'kinetics400'.
Ours:  not trained yet.
"""

from flatten_jax.runtime.configuration import default_config as defaults


def get_config(arg=''):
  """`--config.x=y` changes one value."""
  defaults.parse(arg)

  config = defaults.base()
  defaults.plain(config)
  defaults.steps(config, 25, 40)
  config.model.name = 'vidtr_l'
  config.model.pretrained = 'imagenet21k'

  config.data.short_side = 256
  config.data.crop_method = 'scale'
  config.data.crop_scale = (1.0, 1.25)

  config.batch_size = 8  # 8 devices of one clip.
  config.lr = 0.01
  config.weight_decay = 1e-5
  config.epochs = 50.0
  return config
