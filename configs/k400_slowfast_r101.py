# SPDX-License-Identifier: Apache-2.0
r"""SlowFast R101 on Kinetics-400: a row of Table 1 of the paper.

  python main.py --config=configs/k400_slowfast_r101.py \
      --workdir=/ckpt/k400_slowfast_r101 --config.data.root=/data/kinetics400

Published: 78.9 top-1, 93.5 top-5 with 64 frames (16 of them slow), from
scratch; 3 crops of 10 clips. pytorchvideo's weights, 'kinetics400': 78.7 and
93.6.
Ours:  not trained yet.
"""

from flatten_jax.runtime.configuration import default_config as defaults


def get_config(arg=''):
  """`--config.x=y` changes one value."""
  defaults.parse(arg)

  config = defaults.base()
  defaults.pyslowfast(config)
  config.model.name = 'slowfast_r101'
  return config
