# SPDX-License-Identifier: Apache-2.0
r"""TSN's network of optical flow on HMDB51: a part of a row of Table 4.

  python -m data.prepare hmdb51 --flow=tvl1 --flow_size=256x340 ...
  python main.py --mode=cross_validate --config=configs/hmdb51_tsn_flow.py \
      --workdir=/ckpt/hmdb51_tsn_flow --config.data.root=/data/hmdb51

Published: 68.5, fused with `hmdb51_tsn_rgb.py` (see there). A frame is five
fields of TV-L1 flow. Also published: the weights, 'hmdb51_split1' to
'hmdb51_split3'.
Ours:  not trained yet.
"""

from flatten_jax.runtime.configuration import default_config as defaults

_EPOCH = 3570 / 128  # Iterations, of the training videos of a split.


def get_config(arg=''):
  """`--config.x=y` changes one value."""
  defaults.parse(arg)

  config = defaults.base()
  defaults.multi_scale(config, 4000 / _EPOCH, 6000 / _EPOCH)
  config.model.name = 'tsn_bninception_flow'
  config.model.pretrained = 'imagenet1k'
  config.model.dropout = 0.7

  config.data.flow_method = 'tvl1'
  config.data.resize = (256, 340)
  config.data.crop_sizes = (0.75, 0.875, 1.0)
  config.data.crop_positions = 5

  config.batch_size = 128
  config.batch_norm = 'per_device'
  config.batch_norm_groups = 4
  config.batch_norm_frozen = 'all_but_first'
  config.lr = 5e-3
  config.weight_decay = 5e-4
  config.decay_all = False
  config.param_groups = (('conv.bias', 2.0, 0.0), ('head.bias', 2.0, 0.0))
  config.grad_clip_norm = 20.0
  config.epochs = 7000 / _EPOCH
  return config
