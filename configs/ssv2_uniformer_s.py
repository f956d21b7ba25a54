# SPDX-License-Identifier: Apache-2.0
r"""UniFormer-S + Flatten on Something-Something V2: Table 6 of the paper.

  python main.py --config=configs/ssv2_uniformer_s.py --workdir=/ckpt/ssv2 \
      --config.data.root=/data/ssv2 \
      --config.model.pretrained=/ckpt/k400_uniformer_s

Paper: 67.9 top-1, 91.9 top-5 with 16 frames, from its K400 weights.
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
  # Ours, as all of data: UniFormer's S16 run on SSv2.
  config.model.drop_path_rate = 0.3
  defaults.augment(config, 'rand-m7-n4-mstd0.5-inc1')
  config.data.flip = False  # Left and right are labels.

  config.data.sampling = 'segment'
  config.data.short_side = 256
  config.data.num_crops = 3

  config.batch_size = 24  # The paper's, as the rest.
  config.lr = 1e-4
  config.epochs = 25.0
  config.warmup_epochs = 5.0
  return config
