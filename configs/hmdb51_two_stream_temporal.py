# SPDX-License-Identifier: Apache-2.0
r"""The temporal network of Two-Stream on HMDB51: a part of a row of Table 4.

  python -m data.prepare hmdb51 --flow=tvl1 ...
  python main.py --mode=cross_validate \
      --config=configs/hmdb51_two_stream_temporal.py \
      --workdir=/ckpt/hmdb51_two_stream_temporal --config.data.root=/data/hmdb51

Published: 54.6 top-1, the mean of three splits, trained on UCF101 at the same
time, with a head for each, which is not possible here; 46.6 on HMDB51 alone
(split 1), from scratch, as here. Together with `hmdb51_two_stream_spatial.py`:
59.4.
Ours:  not trained yet.

Theirs is Brox's flow, which OpenCV does not have; TV-L1 is usual since. Weight
decay was not published: here that of the network's ImageNet training.
"""

from flatten_jax.runtime.configuration import default_config as defaults

_EPOCH = 3570 / 256  # Iterations, of the training videos of a split.


def get_config(arg=''):
  """`--config.x=y` changes one value."""
  defaults.parse(arg)

  config = defaults.base()
  defaults.plain(config)
  defaults.steps(config, 50_000 / _EPOCH, 70_000 / _EPOCH)
  config.model.name = 'two_stream_temporal'
  config.model.dropout = 0.9

  config.data.flow_method = 'tvl1'
  config.data.short_side = 256
  config.data.crop_method = 'scale'
  config.data.crop_scale = (1.0, 1.0)  # A place is drawn, not a size.

  config.batch_size = 256
  config.lr = 0.01
  config.weight_decay = 5e-4
  config.decay_all = False
  config.epochs = 80_000 / _EPOCH
  config.eval_every = config.save_every = 100.0  # An epoch has 14 steps.
  return config
