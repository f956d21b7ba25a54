# SPDX-License-Identifier: Apache-2.0
r"""I3D R101 with non-local blocks on Kinetics-400: a row of Table 1.

  python main.py --config=configs/k400_i3d_r101_nl.py \
      --workdir=/ckpt/k400_i3d_r101_nl --config.data.root=/data/kinetics400
  python main.py --config=configs/k400_i3d_r101_nl.py:variant=32x2 ...
  python main.py --config=configs/k400_i3d_r101_nl.py:variant=128x1 \
      --config.model.pretrained=/ckpt/k400_i3d_r101_32x2 ...

Published: 77.7 top-1, 93.3 top-5 with 128 frames (128x1), from ImageNet; 3
crops of 10 clips. The paper credits I3D's; the figure is from "Non-local Neural
Networks". Not published: weights of an R101, and recipes but those of an R50,
which are these. 8x8 is PySlowFast's, from scratch; 8x8_imagenet1k from
ImageNet.
Ours:  not trained yet.

128x1 starts from a 32x2 run without non-local blocks, whose batch norms it
freezes: --config.model.non_local="((), (), (), ())". The paper's 359 GFLOPs are
of `i3d_r101_nl_long359`; the released code is `i3d_r101_nl_long`, as here.
"""

from flatten_jax.runtime.configuration import default_config as defaults

_VIDEOS = 240_258  # Of CVDF's copy, by which iterations become epochs.


def get_config(arg=''):
  """`arg` picks the variant; `--config.x=y` changes one value."""
  arg = defaults.parse(arg, variant='8x8')
  variants = ('8x8', '8x8_imagenet1k', '32x2', '128x1')
  defaults.by_word(arg, 'variant', dict.fromkeys(variants))

  config = defaults.base()
  defaults.pyslowfast(config)
  config.model.name = 'i3d_r101_nl'
  if arg.variant == '8x8':
    return config

  config.schedule = 'steps'
  config.warmup_epochs = config.warmup_lr = 0.0
  config.model.pretrained = 'imagenet1k'
  config.lr = 0.01
  config.epochs = 118.0
  config.lr_steps = (44.0, 88.0)
  if arg.variant == '8x8_imagenet1k':
    return config

  config.model.name = 'i3d_r101_nl_long'
  if arg.variant == '32x2':
    config.model.clip_shape = (32, 224, 224)
    config.data.num_frames = 32
    config.data.stride = 2
  else:
    config.model.pretrained = '/ckpt/k400_i3d_r101_32x2'
    config.model.temporal_groups = 4
    config.batch_size = 16
    config.lr = 0.0025
    config.batch_norm = 'global'
    config.batch_norm_groups = 0
    config.batch_norm_frozen = 'all'
    config.precise_batch_norm = 0
  epoch = _VIDEOS / config.batch_size  # In iterations.
  config.epochs = 400_000 / epoch
  config.lr_steps = (150_000 / epoch, 300_000 / epoch)
  return config
