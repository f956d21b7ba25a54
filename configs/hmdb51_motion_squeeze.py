# SPDX-License-Identifier: Apache-2.0
r"""MotionSqueeze R50 on HMDB51: "MSNet" in Table 4 of the paper.

  python main.py --mode=cross_validate \
      --config=configs/hmdb51_motion_squeeze.py \
      --workdir=/ckpt/hmdb51_motion_squeeze --config.data.root=/data/hmdb51

Quoted: 77.4 top-1 with 16 frames, the mean of three splits, from Kwon et al.,
"MotionSqueeze", 2020; the paper cites a namesake that segments medical images.
Neither weights nor the recipe of this run were published: this is that of its
K400 run, with its views, from ImageNet. The paper says from K400; for that,
give the workdir of such a run,
--config.model.pretrained=/ckpt/k400_motion_squeeze.
Ours:  not trained yet.
"""

from flatten_jax.runtime.configuration import default_config as defaults


def get_config(arg=''):
  """`--config.x=y` changes one value."""
  defaults.parse(arg)

  config = defaults.base()
  defaults.multi_scale(config, 30, 60)
  config.model.name = 'motion_squeeze_r50'
  config.model.pretrained = 'imagenet1k'
  config.model.frames = 16

  config.data.num_frames = 16
  config.data.sampling = 'tsn_dense'
  config.data.stride = 4  # 64 / 16.
  config.data.short_side = 256
  config.data.test_crop = 256
  config.data.num_clips = 10
  config.data.num_crops = 3

  config.batch_size = 96
  config.batch_norm = 'per_device'
  config.batch_norm_groups = 4
  config.lr = 0.02
  config.weight_decay = 1e-4
  config.decay_all = False
  config.param_groups = (('head.bias', 2.0, 0.0),)
  config.grad_clip_norm = 20.0
  config.epochs = 75.0
  return config
