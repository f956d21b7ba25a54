# SPDX-License-Identifier: Apache-2.0
r"""The embedded motion_clips: twelve classes that only motion tells apart.

  python main.py --config=configs/quickstart.py --workdir=runs/quickstart
  python main.py --config=configs/quickstart.py --workdir=runs/random \
      --config.flatten=random
  python main.py --config=configs/quickstart.py --workdir=runs/one_frame \
      --config.data.repeat_frame=True
  python main.py --mode=ablate --workdir=runs/ablation --seeds=3 \
      --config=configs/quickstart.py:frames=16,pixels=16 --config.epochs=36

One repeated frame leaves any classifier at chance (8.3 %), one that is blind
to the order of frames stops at 50 %, one that reads time can reach 100 %.
"""

from flatten_jax.runtime.configuration import default_config as defaults


def get_config(arg=''):
  """`:frames=16` is for layouts that nine frames do not have, such as nested.

  `:pixels=16` for frames of a quarter of the area, three times as fast.
  `:clips=48` makes a smaller set, for a first look at what happens.
  """
  arg = defaults.parse(arg, clips=2400, frames=9, pixels=32)

  config = defaults.base()
  config.model.name = 'uniformer_nano'
  config.data.motion_clips = arg.clips
  config.data.num_frames = arg.frames
  config.data.sampling = 'segment'
  config.data.short_side = arg.pixels
  config.data.crop = arg.pixels
  config.data.frame_cache_gib = 0.5
  config.data.crop_area = (0.8, 1.0)
  config.data.flip = False  # Left and right are labels.

  config.batch_size = 32
  config.epochs = 24.0
  config.warmup_epochs = 2.0
  config.lr = 1e-3
  config.mixup = 0.0
  config.cutmix = 0.0
  config.eval_every = 6.0
  config.save_every = 6.0
  return config
