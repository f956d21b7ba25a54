# SPDX-License-Identifier: Apache-2.0
r"""Your own videos: a folder of class folders, or lists.

  python main.py --config=configs/folder.py --workdir=runs/mine \
      --config.data.root=/videos
  python main.py --config=configs/folder.py --workdir=runs/mine \
      --config.data.train=/lists/train.csv --config.data.test=/lists/test.csv
  python main.py --config=configs/folder.py --workdir=runs/fold_0 \
      --config.data.root=/videos/clips.csv --config.data.fold=0

Classes and counts come from the data. Model, frames, sizes, epochs and the rest
are chosen by the number of videos and by the device
(`runtime/configuration/few_videos.py`); the log has a line for each, with the
reason and the flag that changes it.
"""

from flatten_jax.runtime.configuration import (
  default_config as defaults,
  recipes,
)


def get_config(arg=''):
  """`:model=`, `:frames=` and `:flatten=` choose these; '' and 0 do not."""
  arg = defaults.parse(arg, model='', frames=0, flatten='row_major')

  config = defaults.base()
  recipes.leave_open(config)
  config.flatten = arg.flatten
  if arg.model:
    config.model.name = arg.model
  if arg.frames:
    config.data.num_frames = arg.frames
  return config
