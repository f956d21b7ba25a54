# SPDX-License-Identifier: Apache-2.0
r"""Your own videos: a folder of class folders, or lists.

  python main.py --config=configs/folder.py --workdir=runs/mine \
      --config.data.root=/videos
  python main.py --config=configs/folder.py --workdir=runs/mine \
      --config.data.train=/lists/train.csv --config.data.test=/lists/test.csv
  python main.py --config=configs/folder.py --workdir=runs/fold_0 \
      --config.data.root=/videos/clips.csv --config.data.fold=0

Classes and counts come from the data. `:model=uniformer_nano` trains on a
laptop's CPU: a small model, small frames, for a few hundred videos.
"""

from flatten_jax.runtime import default_config as defaults


def get_config(arg=''):
  """`:model=uniformer_nano` for a CPU; `:frames=` is 9 for it, 16 otherwise."""
  arg = defaults.parse(
    arg, model='uniformer_xxs', frames=0, flatten='row_major'
  )
  nano = arg.model == 'uniformer_nano'

  config = defaults.base()
  config.flatten = arg.flatten
  config.model.name = arg.model
  config.data.num_frames = arg.frames or (9 if nano else 16)
  config.data.sampling = 'segment'  # The whole video, however long.
  # A multiple of 32 in all: 3 x 32 and 4 x 32, 3 x 128 and 4 x 112.
  side = 112 if config.data.num_frames % 16 == 0 else 128
  config.data.crop = 32 if nano else side
  config.data.short_side = config.data.crop * 5 // 4
  config.data.frame_cache_gib = 2.0
  config.data.crop_area = (0.5, 1.0)
  config.data.flip = False  # Safe where left and right may be the label.
  config.data.color_jitter = 0.3
  config.data.num_crops = 3

  config.batch_size = 24 if nano else 16
  config.epochs = 0.0  # By the number of videos; 20 to 150.
  config.warmup_epochs = -1.0  # A tenth of them.
  config.lr = 1e-3 if nano else 5e-4
  config.model.drop_path_rate = 0.0 if nano else 0.05
  if nano:  # It is too small to learn from mixed clips.
    config.mixup = config.cutmix = 0.0
  config.eval_every = 5.0
  config.save_every = 5.0
  return config
