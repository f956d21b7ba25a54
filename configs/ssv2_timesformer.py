# SPDX-License-Identifier: Apache-2.0
r"""TimeSformer on Something-Something V2: rows of Table 3 of the paper.

  python main.py --config=configs/ssv2_timesformer.py \
      --workdir=/ckpt/ssv2_timesformer --config.data.root=/data/ssv2
  python main.py --config=configs/ssv2_timesformer.py:variant=hr ...

Published, of retrained weights: 59.1 top-1, 85.6 top-5 with 8 frames of 224 px
(base), 61.8 and 86.9 with 16 of 448 px (hr), 62.0 and 87.5 with 64 of 224 px
(l), from image weights; 3 crops of one clip. Also published: the weights,
'ssv2'.
Ours:  not trained yet.
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
  if arg.variant == 'l':
    config.model.frames = config.data.num_frames = 64
  config.channels = 'bgr'  # As OpenCV reads frames.

  config.data.sampling = 'segment_middle'
  config.data.short_side = longest
  config.data.crop_method = 'inverse_scale'
  config.data.crop_scale = (shortest / longest, 1.0)
  config.data.flip = False  # Left and right are labels.

  config.batch_size = 64
  config.lr = 5e-3
  config.nesterov = True
  config.weight_decay = 1e-4
  config.epochs = 15.0
  return config
