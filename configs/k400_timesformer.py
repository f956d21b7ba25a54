# SPDX-License-Identifier: Apache-2.0
r"""TimeSformer on Kinetics-400: rows of Table 1 of the paper.

  python main.py --config=configs/k400_timesformer.py \
      --workdir=/ckpt/k400_timesformer --config.data.root=/data/kinetics400
  python main.py --config=configs/k400_timesformer.py:variant=hr ...

Published, of retrained weights: 77.9 top-1, 93.2 top-5 with 8 frames of 224 px
(base), 79.6 and 94.0 with 16 of 448 px (hr), 80.6 and 94.7 with 96 of 224 px
(l); 3 crops of one clip. Also published: the weights, 'kinetics400'.
Ours:  not trained yet.

HR starts from an image table of positions that is resized as one row, as in
their code; --config.model.import_positions=grid keeps places.
"""

from flatten_jax.runtime.configuration import default_config as defaults


def get_config(arg=''):
  """`arg` picks the variant; `--config.x=y` changes one value."""
  arg = defaults.parse(arg, variant='base')
  # Name, and the shortest and the longest short side of a training clip.
  variants = {
    'base': ('timesformer_b', 256, 320),
    'hr': ('timesformer_hr', 448, 512),
    'l': ('timesformer_l', 256, 320),
  }
  name, shortest, longest = defaults.by_word(arg, 'variant', variants)

  config = defaults.base()
  defaults.plain(config)
  defaults.steps(config, 11, 14)
  config.model.name = name
  config.model.pretrained = 'imagenet21k'
  config.model.drop_path_rate = 0.1

  config.data.short_side = longest
  config.data.crop_method = 'scale'
  config.data.crop_scale = (shortest / longest, 1.0)

  config.batch_size = 64
  config.lr = 5e-3
  config.nesterov = True
  config.weight_decay = 1e-4
  config.epochs = 15.0
  return config
