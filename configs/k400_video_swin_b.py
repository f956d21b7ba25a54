# SPDX-License-Identifier: Apache-2.0
r"""Video Swin-B on Kinetics-400: rows of Table 1 of the paper.

  python main.py --config=configs/k400_video_swin_b.py \
      --workdir=/ckpt/k400_video_swin_b --config.data.root=/data/kinetics400
  python main.py --config=configs/k400_video_swin_b.py:start=imagenet22k ...

Published: 80.6 top-1, 94.6 top-5 from ImageNet-1k, 82.7 and 95.5 from
ImageNet-22k, with 32 frames; 3 crops of 4 clips, whose probabilities are
averaged. Also published: the weights, 'kinetics400' and 'kinetics400_22k'.
Ours:  not trained yet.

Theirs used mixed precision (apex O1); --config.model.dtype=bfloat16 is close.
"""

from flatten_jax.runtime.configuration import default_config as defaults


def get_config(arg=''):
  """`arg` picks the image weights; `--config.x=y` changes one value."""
  arg = defaults.parse(arg, start='imagenet1k')
  starts = {'imagenet1k': (1e-3, 0.3), 'imagenet22k': (3e-4, 0.2)}
  lr, drop_path_rate = defaults.by_word(arg, 'start', starts)

  config = defaults.base()
  defaults.plain(config)
  config.model.name = 'video_swin_b'
  config.model.pretrained = arg.start
  config.model.drop_path_rate = drop_path_rate

  config.data.short_side = 256

  config.batch_size = 64  # 8 devices of 8 clips.
  config.lr = lr  # The head's.
  config.weight_decay = 0.05
  config.epochs = 30.0
  config.warmup_epochs = 2.5
  config.warmup_lr = lr / 10
  config.schedule = 'cosine_by_epoch'
  # As their rules really act: norms and biases decay too, tables do not.
  config.decay_all = True
  config.param_groups = (
    ('', 0.1, 1.0),  # Any name: the backbone.
    ('head', 1.0, 1.0),
    ('bias_table', 1.0, 0.0),
  )
  return config
