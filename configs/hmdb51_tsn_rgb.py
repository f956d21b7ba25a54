# SPDX-License-Identifier: Apache-2.0
r"""TSN's RGB network on HMDB51: a part of a row of Table 4 of the paper.

  python main.py --mode=cross_validate --config=configs/hmdb51_tsn_rgb.py \
      --workdir=/ckpt/hmdb51_tsn_rgb --config.data.root=/data/hmdb51
  python main.py --mode=fuse --method=logits --weights=1,1.5 \
      --workdir=/ckpt/hmdb51_tsn \
      --runs=/ckpt/hmdb51_tsn_rgb,/ckpt/hmdb51_tsn_flow

Published: 68.5, fused with `hmdb51_tsn_flow.py`, the mean of three splits, of
25 frames and 10 crops, from ImageNet. Also published: the weights,
'hmdb51_split1' to 'hmdb51_split3'.
Ours:  not trained yet.
"""

from flatten_jax.runtime.configuration import default_config as defaults

_EPOCH = 3570 / 128  # Iterations, of the training videos of a split.


def get_config(arg=''):
  """`--config.x=y` changes one value."""
  defaults.parse(arg)

  config = defaults.base()
  defaults.multi_scale(config, 1000 / _EPOCH, 2000 / _EPOCH)
  config.model.name = 'tsn_bninception'
  config.model.pretrained = 'imagenet1k'
  config.model.dropout = 0.8

  config.data.resize = (256, 340)
  config.data.crop_positions = 5

  config.batch_size = 128
  config.batch_norm = 'per_device'
  config.batch_norm_groups = 4
  config.batch_norm_frozen = 'all_but_first'
  config.lr = 1e-3
  config.weight_decay = 5e-4
  config.decay_all = False
  config.param_groups = (('conv.bias', 2.0, 0.0), ('head.bias', 2.0, 0.0))
  config.grad_clip_norm = 40.0
  config.epochs = 2500 / _EPOCH
  return config
