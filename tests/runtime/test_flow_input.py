# SPDX-License-Identifier: Apache-2.0
"""`data.input` decides the channels of clips, of the model and its weights."""

import logging

from flax import nnx
import jax
import numpy as np
import optax
import pytest

from configs import common
from flatten_jax.checkpoints.checkpoints import Checkpoints, RunInfo
from flatten_jax.checkpoints.initial_weights import initial_weights
from flatten_jax.inputs.flow import fields
from flatten_jax.runtime import model_factory
from flatten_jax.runtime.configuration import config as configs
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.state import TrainState

ZERO = (fields.ZERO / 255,) * 3


def config_of(model='resnet_test', **changes):
  config = common.base()
  config.model.name = model
  with config.ignore_type():
    config.update_from_flattened_dict(
      {key.replace('__', '.'): value for key, value in changes.items()}
    )
  return config


@pytest.mark.parametrize(
  ('model', 'given', 'kind', 'count'),
  [
    ('resnet_test', {}, 'rgb', 0),
    ('resnet_test', {'data__input': 'flow'}, 'flow', 10),
    ('swinv2_test', {'data__input': 'rgb+flow'}, 'rgb+flow', 10),
    ('tsn_test', {'data__input': 'flow', 'data__flow_frames': 3}, 'flow', 3),
    ('two_stream_temporal', {}, 'flow', 10),
    ('tsn_bninception_flow', {}, 'flow', 5),
    ('tsn_bninception_flow', {'data__flow_frames': 1}, 'flow', 1),
    ('tsn_bninception_flow', {'data__input': 'rgb'}, 'rgb', 0),
  ],
)
def test_the_input_is_the_models_or_the_configs(model, given, kind, count):
  config = configs.fill_and_check(config_of(model, **given))
  assert (config.data.input, config.data.flow_frames) == (kind, count)
  built = nnx.eval_shape(lambda: model_factory.build_model(config, 2))
  assert built.in_channels == fields.num_channels(config.data)


def test_flow_has_no_color_and_one_deviation():
  rgb = configs.fill_and_check(
    config_of(data__input='rgb+flow', std=(0.2, 0.3, 0.4))
  )
  assert rgb.mean == (0.45, 0.45, 0.45)
  assert rgb.std == (0.2, 0.3, 0.4)
  flow = configs.fill_and_check(config_of(data__input='flow'))
  assert flow.mean == ZERO
  published = configs.fill_and_check(config_of('two_stream_temporal'))
  assert published.mean == ZERO
  np.testing.assert_allclose(published.std, 1 / 255)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'data__color_jitter': 0.1}, r'data\.color_jitter is for RGB alone'),
    ({'data__rotation': 5.0}, r'data\.rotation is for RGB alone'),
    ({'data__grayscale_share': 0.1}, r'data\.grayscale_share is for RGB'),
    ({'data__random_erasing': 0.1}, r'data\.random_erasing is for RGB'),
    ({'data__randaugment': 'rand-m9'}, r'--config\.data\.randaugment=$'),
    ({'data__images': '/images'}, r'data\.images are still'),
    ({'model__in_channels': 3}, r'in_channels must be 4, by data\.input'),
    (
      {'data__input': 'rgb'},
      r"data\.flow_frames acts with config\.data\.input='flow' or 'rgb\+flow'",
    ),
    (
      {'data__input': '', 'data__flow_frames': 0, 'data__flow_method': 'tvl1'},
      r"data\.flow_method acts with config\.data\.input='flow'",
    ),
  ],
)
@pytest.mark.parametrize('kind', ['flow', 'rgb+flow'])
def test_keys_that_contradict_the_input_are_refused(kind, changes, message):
  given = {'data__input': kind, 'data__flow_frames': 2} | changes
  if 'model__in_channels' in changes and kind == 'rgb+flow':
    message = message.replace('4', '7')
  with pytest.raises(ValueError, match=message):
    configs.fill_and_check(config_of(**given))


def test_a_resumed_run_keeps_its_input():
  before = configs.fill_and_check(
    config_of(data__input='flow', data__flow_frames=2)
  )
  again = configs.fill_and_check(config_of(), saved=before)
  assert again == before


def test_a_run_of_flow_starts_from_one_of_rgb(tmp_path, caplog):
  classes = ('left', 'right')
  run = Experiment.create(configs.fill_and_check(config_of()), classes)
  params, batch_stats = initial_weights(run)
  state = TrainState.create(params, batch_stats, optax.sgd(0.1))
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(state, RunInfo(classes, run.config.to_dict()), None)
  config = config_of(
    data__input='flow', data__flow_frames=2, model__pretrained=str(tmp_path)
  )
  config = configs.fill_and_check(config)
  assert config.mean == ZERO
  with caplog.at_level(logging.WARNING, 'flatten_jax'):
    ours, _ = initial_weights(Experiment.create(config, classes))
  assert 'conv.kernel: the mean over RGB, for 4 channels' in caplog.text
  kernel = np.asarray(params['conv']['kernel']).mean(axis=-2, keepdims=True)
  expected = np.repeat(kernel, 4, axis=-2)
  np.testing.assert_allclose(ours['conv']['kernel'], expected, rtol=1e-6)
  del ours['conv'], params['conv']
  jax.tree.map(np.testing.assert_array_equal, ours, params)
