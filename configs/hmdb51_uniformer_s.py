# SPDX-License-Identifier: Apache-2.0
r"""UniFormer-S + Flatten on HMDB51: Table 7 of the paper.

  python main.py --mode=cross_validate --config=configs/hmdb51_uniformer_s.py \
      --workdir=/ckpt/hmdb51 --config.data.root=/data/hmdb51 \
      --config.model.pretrained=/ckpt/k400_uniformer_s

Paper: 82.9 top-1, 96.9 top-5 with 16 frames, from its K400 weights.
Ours:  not trained yet.
"""

from flatten_jax.runtime.configuration import default_config as defaults


def get_config(arg=''):
  """`:flatten=nested`; `--config.x=y` changes one value."""
  arg = defaults.parse(arg, flatten='row_major')

  config = defaults.base()
  config.flatten = arg.flatten
  config.model.name = 'uniformer_s'
  # The workdir of a k400_uniformer_s run, whose normalisation this keeps.
  config.model.pretrained = '/ckpt/k400_uniformer_s'
  # Ours, as all of data: UniFormer's S16 run on HMDB51.
  config.model.drop_path_rate = 0.2
  defaults.augment(config, 'rand-m5-n2-mstd0.25')

  config.data.short_side = 256
  config.data.num_crops = 3
  config.data.num_clips = 5

  config.batch_size = 24  # The paper's, as the rest.
  config.lr = 1e-4
  config.epochs = 70.0
  config.warmup_epochs = 7.0
  return config
