# SPDX-License-Identifier: Apache-2.0
r"""Pretraining without a download: 119 motions of textured, embedded clips.

  python main.py --config=configs/motions.py --workdir=runs/motions
  python main.py --config=configs/folder.py --workdir=runs/mine \
      --config.data.root=/videos --config.model.pretrained=runs/motions

Paths of an object, openings, growing and turning things, cameras, pairs. Such
weights come with the package: `pretrained='motions'`, of this run and a second
one, see docs/experiments.md, and 'motions_rgb', of `:channels=rgb`. They are
the model.safetensors that `--mode=export --formats=safetensors` writes, as
float16.
"""

from flatten_jax.runtime.configuration import default_config as defaults


def get_config(arg=''):
  """`:clips=` training clips; `:channels=rgb` for a run with colors."""
  arg = defaults.parse(arg, clips=20000, channels='motion')

  config = defaults.base()
  config.model.name = 'uniformer_nano'
  config.channels = arg.channels
  config.data.motion_clips = arg.clips
  config.data.motions = 'many'
  config.data.num_frames = 9
  config.data.sampling = 'even'
  config.data.short_side = 40
  config.data.crop = 32
  config.data.frame_cache_gib = 3.0
  config.data.crop_area = (0.6, 1.0)
  config.data.color_jitter = 0.3
  config.data.flip = False  # Left and right are labels.

  config.batch_size = 64
  config.epochs = 12.0
  config.warmup_epochs = 0.5
  config.lr = 2e-3
  config.mixup = 0.0
  config.cutmix = 0.0
  config.eval_every = 3.0
  return config
