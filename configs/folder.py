# SPDX-License-Identifier: Apache-2.0
r"""Your own videos: a folder of class folders, or lists.

  python main.py --config=configs/folder.py --workdir=runs/mine \
      --config.data.root=/videos
  python main.py --config=configs/folder.py --workdir=runs/mine \
      --config.data.train=/lists/train.csv --config.data.test=/lists/test.csv
  python main.py --config=configs/folder.py --workdir=runs/fold_0 \
      --config.data.root=/videos/clips.csv --config.data.fold=0

Classes and counts come from the data. On a CPU, take a smaller model:
--config.model.name=uniformer_nano --config.data.crop=48.
"""

from configs import common


def get_config(arg=''):
  """`:frames=9` for a quarter less work; any square number does."""
  arg = common.parse(arg, frames=16, flatten='row_major')

  config = common.base()
  config.flatten = arg.flatten
  config.model.name = 'uniformer_xxs'
  config.model.drop_path_rate = 0.05
  config.data.num_frames = arg.frames
  config.data.sampling = 'segment'  # The whole video, however long.
  config.data.crop = 112 if arg.frames % 16 == 0 else 128
  config.data.short_side = config.data.crop * 8 // 7
  config.data.cache_gib = 2.0
  config.data.area = (0.5, 1.0)
  config.data.flip = False  # Safe where left and right may be the label.
  config.data.color_jitter = 0.3

  config.batch_size = 16
  config.epochs = 0.0  # By the number of videos; 20 to 200.
  config.warmup_epochs = 0.0
  config.lr = 5e-4
  config.eval_every = 5.0
  config.save_every = 5.0
  return config
