# SPDX-License-Identifier: Apache-2.0
r"""UniFormer(3D)-S on Kinetics-400: the baseline of Flatten in Table 5.

  python main.py --config=configs/k400_uniformer3d_s.py \
      --workdir=/ckpt/k400_uniformer3d_s --config.data.root=/data/kinetics400
  python main.py --config=configs/k400_uniformer3d_s.py:frames=8 ...

Paper: 80.8 top-1 with 16 frames, 78.4 with 8; four 224 px clips per video.
Ours:  not trained yet.
"""

from flatten_jax.runtime.configuration import default_config as defaults


def get_config(arg=''):
  """`:frames=8`; `--config.x=y` changes one value."""
  arg = defaults.parse(arg, frames=16)

  config = defaults.base()
  config.model.name = 'uniformer3d_s'  # Takes clips: no layout.
  config.model.pretrained = 'imagenet1k'  # Inflated along time.
  # The paper does not describe the training of its baselines. Ours, all below:
  # UniFormer's S8x8 and S16x4 runs.
  config.model.drop_path_rate = 0.1
  defaults.augment(config, 'rand-m7-n4-mstd0.5-inc1')

  config.data.num_frames = arg.frames
  config.data.stride = defaults.by_frames(arg, {8: 8, 16: 4})
  config.data.short_side = 256
  config.data.num_clips = 4  # Table 5

  config.batch_size = defaults.by_frames(arg, {8: 128, 16: 32})
  config.lr = defaults.by_frames(arg, {8: 4e-4, 16: 1e-4})
  config.epochs = defaults.by_frames(arg, {8: 100.0, 16: 110.0})
  config.warmup_epochs = 10.0
  return config
