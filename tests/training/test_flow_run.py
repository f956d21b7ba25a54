# SPDX-License-Identifier: Apache-2.0
"""A run on RGB and optical flow: trained, resumed, and used in other modes."""

import json
import pathlib

import jax
import pytest

import flatten_jax as fj
from flatten_jax.reporting.inspect_inputs import inspect_inputs
from flatten_jax.runtime.configuration import config as configs
from tests.training.test_loop import StopAt, same


@pytest.fixture
def flow_config(config):
  """Three steps of the tiny model on three channels and two fields."""
  config.data.input, config.data.flow_frames = 'rgb+flow', 2
  config.epochs, config.warmup_epochs = 1.0, 0.3
  config.eval_every, config.save_every = 0.0, 0.3
  return configs.fill_and_check(config)


def test_a_run_on_flow_is_trained_and_used(flow_config, tmp_path):
  config = flow_config
  fj.train_and_evaluate(config, tmp_path)
  results = json.loads((tmp_path / 'results.json').read_text())
  assert results['test']['scored'] == 12
  video = next(pathlib.Path(config.data.root).glob('test/*/*.mp4'))
  (found,) = fj.predict(tmp_path, video, timeline=True)
  assert found.timeline
  assert inspect_inputs(config, tmp_path).is_file()
  fj.export(tmp_path, formats=['stablehlo'])
  described = json.loads((tmp_path / 'export/metadata.json').read_text())
  assert described['input']['shape'] == ['b', 4, 16, 16, 7]
  assert 'RGB from 0 to 255, then x and y of 2' in described['input']['axes']
  assert len(described['inside']['mean']) == 7


@pytest.mark.slow
def test_a_run_on_flow_is_resumed_to_the_bit_and_explained(
  flow_config, tmp_path, monkeypatch
):
  config = flow_config
  config.data.input = 'flow'
  state = fj.train_and_evaluate(config, tmp_path / 'whole')

  def crash():
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    StopAt(patch, 2, crash)
    with pytest.raises(KeyboardInterrupt):
      fj.train_and_evaluate(config, tmp_path / 'resumed')
  resumed = fj.train_and_evaluate(config, tmp_path / 'resumed')
  same(jax.device_get(resumed), jax.device_get(state))
  fj.explain(tmp_path / 'whole', videos=1)
  assert list((tmp_path / 'whole' / 'explain').rglob('*.png'))
