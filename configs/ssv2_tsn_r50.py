# SPDX-License-Identifier: Apache-2.0
r"""TSN R50 on Something-Something V2: a row of Table 3 of the paper.

  python main.py --config=configs/ssv2_tsn_r50.py \
      --workdir=/ckpt/ssv2_tsn_r50 --config.data.root=/data/ssv2

Quoted: 30.0 top-1, 60.5 top-5, from ImageNet; the number of frames and the
views are not known, and no repository has the figure. This is the recipe of
TSM's repository, without its shift: 8 frames, one crop. OpenMMLab's TSN, of
another recipe, reaches 35.5 and 67.1 with 25 frames of 10 crops; its weights:
'ssv2'.
Ours:  not trained yet.
"""

from flatten_jax.runtime.configuration import default_config as defaults


def get_config(arg=''):
  """`--config.x=y` changes one value."""
  defaults.parse(arg)

  config = defaults.base()
  defaults.multi_scale(config, 20, 40)
  config.model.name = 'tsn_r50'
  config.model.pretrained = 'imagenet1k'
  config.data.flip = False  # Left and right are labels.

  config.batch_size = 64
  config.lr = 0.01
  config.weight_decay = 5e-4
  config.decay_all = False
  config.param_groups = (('head.kernel', 5.0, 1.0), ('head.bias', 10.0, 0.0))
  config.grad_clip_norm = 20.0
  config.epochs = 50.0
  return config
