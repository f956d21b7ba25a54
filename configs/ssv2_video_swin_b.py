# SPDX-License-Identifier: Apache-2.0
r"""Video Swin-B on Something-Something V2: a row of Table 3 of the paper.

  python main.py --config=configs/ssv2_video_swin_b.py \
      --workdir=/ckpt/ssv2_video_swin_b --config.data.root=/data/ssv2

Published: 69.6 top-1, 92.7 top-5 with 32 frames, from its K400 weights with
windows of 16 x 7 x 7; 3 crops of one clip. Also published: the weights, 'ssv2'.
Ours:  not trained yet.

Theirs took RandAugment from imgaug, which also has blur and Cutout, and mirrors
half of the clips although left and right are labels; ours never mirrors. Theirs
used mixed precision (apex O1); --config.model.dtype=bfloat16 is close.
"""

from flatten_jax.runtime.configuration import default_config as defaults


def get_config(arg=''):
  """`--config.x=y` changes one value."""
  defaults.parse(arg)

  config = defaults.base()
  defaults.plain(config)
  config.model.name = 'video_swin_b'
  config.model.pretrained = 'kinetics400_window16'
  config.model.drop_path_rate = 0.4

  config.data.sampling = 'segment_middle'
  config.data.num_clips = 1
  config.data.short_side = 256
  config.data.flip = False
  # Magnitude 7 of imgaug's 30; each drawn operation is applied.
  config.data.randaugment = 'rand-m2.33-n4-inc1-p1'
  config.data.random_erasing = 0.25
  config.data.erasing_fill = 'mean'

  config.batch_size = 64  # 8 devices of 8 clips.
  config.lr = 3e-4  # The head's.
  config.weight_decay = 0.05
  config.epochs = 60.0
  config.warmup_epochs = 2.5
  config.warmup_lr = 3e-5
  config.schedule = 'cosine_by_epoch'
  config.label_smoothing = 0.1
  # As their rules really act: norms and biases decay too, tables do not.
  config.decay_all = True
  config.param_groups = (
    ('', 0.1, 1.0),  # Any name: the backbone.
    ('head', 1.0, 1.0),
    ('bias_table', 1.0, 0.0),
  )
  return config
