# SPDX-License-Identifier: Apache-2.0
r"""Video Swin-T on Kinetics-400: a row of Table 1 of the paper.

  python main.py --config=configs/k400_video_swin_t.py \
      --workdir=/ckpt/k400_video_swin_t --config.data.root=/data/kinetics400

Published: 78.8 top-1, 93.6 top-5 with 32 frames; 3 crops of 4 clips, whose
probabilities are averaged. Also published: the weights, 'kinetics400'.
Ours:  not trained yet.

Theirs used mixed precision (apex O1); --config.model.dtype=bfloat16 is close.
"""

from flatten_jax.runtime.configuration import default_config as defaults


def get_config(arg=''):
  """`--config.x=y` changes one value."""
  defaults.parse(arg)

  config = defaults.base()
  defaults.plain(config)
  config.model.name = 'video_swin_t'
  config.model.pretrained = 'imagenet1k'
  config.model.drop_path_rate = 0.1

  config.data.short_side = 256

  config.batch_size = 64  # 8 devices of 8 clips.
  config.lr = 1e-3  # The head's.
  config.weight_decay = 0.02
  config.epochs = 30.0
  config.warmup_epochs = 2.5
  config.warmup_lr = 1e-4
  config.schedule = 'cosine_by_epoch'
  # As their rules really act: norms and biases decay too, tables do not.
  config.decay_all = True
  config.param_groups = (
    ('', 0.1, 1.0),  # Any name: the backbone.
    ('head', 1.0, 1.0),
    ('bias_table', 1.0, 0.0),
  )
  return config
