# SPDX-License-Identifier: Apache-2.0
r"""SlowFast R101 with non-local blocks on Kinetics-400: a row of Table 1.

  python main.py --config=configs/k400_slowfast_r101_nl.py \
      --workdir=/ckpt/k400_slowfast_r101_nl --config.data.root=/data/kinetics400

Published: 79.8 top-1, 93.9 top-5 with 64 frames (16 of them slow), from
scratch; 3 crops of 10 clips. Not published: weights for Kinetics-400.
Ours:  not trained yet.

Keys are pooled by 2 x 2 x 2, which is what 234 GFLOPs cost; PySlowFast's config
for Kinetics leaves 1 x 2 x 2: --config.model.key_pool="(1, 2, 2)".
"""

from flatten_jax.runtime.configuration import default_config as defaults


def get_config(arg=''):
  """`--config.x=y` changes one value."""
  defaults.parse(arg)

  config = defaults.base()
  defaults.pyslowfast(config)
  config.model.name = 'slowfast_r101_nl'
  return config
