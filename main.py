# SPDX-License-Identifier: Apache-2.0
"""Does what a config describes. The substance is in flatten_jax."""

import json

from absl import app, flags
import jax
from ml_collections import config_flags

import flatten_jax as fj

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'What to run; a file in configs/.', lock_config=True
)
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Where checkpoints, logs and results go.', required=True
)
_MODE = flags.DEFINE_enum(
  'mode',
  'train',
  ['train', 'evaluate', 'score'],
  'train: train and evaluate, going on where the workdir stopped. evaluate: '
  'score its checkpoint again, by default as its own config says. score: '
  'compute the accuracies from its predictions file alone.',
)


def main(argv):
  """Runs one mode; whatever fails raises, so that 0 means done."""
  if len(argv) > 1:
    raise app.UsageError(f'Did not understand {argv[1:]}.')
  if _MODE.value == 'train':
    if _CONFIG.value is None:
      raise app.UsageError('--mode=train needs --config=configs/....py')
    fj.train_and_evaluate(_CONFIG.value, _WORKDIR.value)
  elif _MODE.value == 'evaluate':
    fj.evaluate(_CONFIG.value, _WORKDIR.value)
  elif _MODE.value == 'score':
    print(json.dumps(fj.score(_WORKDIR.value), indent=2))


if __name__ == '__main__':
  jax.config.config_with_absl()
  app.run(main)
