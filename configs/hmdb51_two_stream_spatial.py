# SPDX-License-Identifier: Apache-2.0
r"""The spatial network of Two-Stream on HMDB51: a part of a row of Table 4.

  python main.py --mode=cross_validate \
      --config=configs/hmdb51_two_stream_spatial.py \
      --workdir=/ckpt/hmdb51_two_stream_spatial --config.data.root=/data/hmdb51
  python main.py --mode=fuse --method=svm --workdir=/ckpt/hmdb51_two_stream \
      --runs=/ckpt/hmdb51_two_stream_spatial,/ckpt/hmdb51_two_stream_temporal

Published: 40.5 top-1, 59.4 fused with `hmdb51_two_stream_temporal.py` by an
SVM, 58.0 by --method=probs, the mean of three splits. From ImageNet, and only
the last layer is trained; 10 crops of 25 frames.
Ours:  not trained yet.

Not published: weight decay (here that of the network's ImageNet training) and
the size of the "RGB jittering", which is left out.
"""

from flatten_jax.runtime.configuration import default_config as defaults

_EPOCH = 3570 / 256  # Iterations, of the training videos of a split.


def get_config(arg=''):
  """`--config.x=y` changes one value."""
  defaults.parse(arg)

  config = defaults.base()
  defaults.plain(config)
  defaults.steps(config, 14_000 / _EPOCH)
  config.model.name = 'two_stream_spatial'
  config.model.pretrained = 'imagenet1k'

  config.data.short_side = 256
  config.data.crop_method = 'scale'
  config.data.crop_scale = (1.0, 1.0)  # A place is drawn, not a size.

  config.batch_size = 256
  config.lr = 0.01
  config.weight_decay = 5e-4
  config.decay_all = False
  config.param_groups = (('', 0.0, 0.0), ('head', 1.0, 1.0))
  config.epochs = 20_000 / _EPOCH
  config.eval_every = config.save_every = 100.0  # An epoch has 14 steps.
  return config
