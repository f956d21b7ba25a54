# SPDX-License-Identifier: Apache-2.0
"""Facts about programs before they are compiled, and their page."""

import pytest

from configs import quickstart
from flatten_jax.compiling import page, program
from flatten_jax.runtime.configuration import config as configs
from flatten_jax.runtime.experiment import Experiment

COMPILED = {
  'fits': True,
  'memory_bytes': 2**30,
  'recomputed': 0,
  'gmacs_per_chip': 1.0,
  'forms': {},
  'collectives': [],
  'buffers': [],
  'host_callbacks': 0,
}


@pytest.mark.parametrize(
  ('side', 'shown'),
  [
    (0, '4 frames of 32 px, 5 classes'),
    (48, '4 frames of 32 px (evaluation 4 frames of 48 px), 5 classes'),
  ],
)
def test_the_clips_of_evaluation_are_its_own(side, shown):
  config = configs.complete(quickstart.get_config())
  config.model.name = 'uniformer_test'
  config.data.num_frames, config.data.crop, config.data.test_crop = 4, 32, side
  experiment = Experiment.create(program.resolved(config), tuple('abcde'))
  _, train = program.lower_training(experiment)
  _, evaluate = program.lower_evaluation(experiment)
  assert (train['frames'], train['crop']) == (4, 32)
  assert (evaluate['frames'], evaluate['crop']) == (4, side or 32)
  found = {'train': train | COMPILED, 'evaluate': evaluate | COMPILED}
  assert shown in page.page(found | {'machine': 'cpu:8', 'classes': 5})
