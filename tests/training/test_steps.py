# SPDX-License-Identifier: Apache-2.0
"""A training step: mixing, flattening, accumulation, averages, metrics."""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flatten_jax import models
from flatten_jax.flattening import flatten
from flatten_jax.models.layers import dense, norms, patch_embed
from flatten_jax.runtime import preprocess
from flatten_jax.runtime.configuration import recipe_rules
from flatten_jax.runtime.devices import batch_norm
from flatten_jax.runtime.state import TrainState, moving_average, split
from flatten_jax.training import mixing, optimizer, schedules, steps

CLASSES = ('down', 'left', 'right', 'up')


class ImageModel(nnx.Module):
  """A patch embedding, a norm and a head; compiles fast."""

  def __init__(self, norm, num_classes, *, rngs):
    self.conv = patch_embed.PatchConv(3, 8, 8, rngs=rngs)
    self.norm = norm(8)
    self.head = dense.Dense(8, num_classes, rngs=rngs)

  def __call__(self, images, train=False, rngs=None):
    assert images.shape[1:] == (64, 64, 3)  # Four frames, flattened.
    x = nnx.relu(self.norm(self.conv(images), train=train))
    return self.head(x.mean((1, 2)))


class NoNorm(nnx.Module):
  """Keeps the examples of a batch independent."""

  def __init__(self, dim):
    del dim

  def __call__(self, x, train=False):
    return x


@pytest.fixture(autouse=True)
def image_models(config, monkeypatch):
  for name, norm in (('norm', norms.BatchNorm), ('no_norm', NoNorm)):
    model = lambda _, *args, norm=norm, **kw: ImageModel(norm, *args, **kw)  # noqa: E731
    monkeypatch.setitem(models.MODELS, name, models.ModelEntry(model, None))
  config.model.name = 'norm'


def create(config):
  module = models.MODELS[config.model.name].module
  return module(None, len(CLASSES), rngs=nnx.Rngs(0))


@pytest.fixture
def batch():
  rng = np.random.default_rng(0)
  return {
    'clip': rng.integers(0, 256, (8, 4, 32, 32, 3), np.uint8),
    'label': rng.integers(0, 4, 8),
  }


def updated(config, batch, count=1, model=None, devices=1, frozen=()):
  """Returns the state after `count` steps on one batch, and the metrics."""
  graphdef, params, batch_stats = split(model or create(config))
  tx = optimizer.make(config)
  state = TrainState.create(params, batch_stats, tx, config.ema)
  step = jax.jit(
    functools.partial(
      steps.train_step,
      graphdef=graphdef,
      tx=tx,
      config=config,
      num_classes=len(CLASSES),
      devices=devices,
      frozen=frozen,
    )
  )
  rate = schedules.make(config, 10)
  for i in range(count):
    state, metrics = step(state, batch, rate(i))
  return state, metrics


def close(a, b, **tolerance):
  check = functools.partial(np.testing.assert_allclose, **tolerance)
  jax.tree.map(check, a, b)


def test_accumulated_gradients_equal_those_of_the_whole_batch(config, batch):
  """The model has no batch normalization."""
  config.model.name = 'no_norm'
  whole, metrics = updated(config, batch)
  config.grad_accum_steps = 4
  parts, other = updated(config, batch)
  close(metrics, other, rtol=1e-4)
  # After one step of Adam, its first moment is a tenth of the gradients.
  moments = [state.opt_state[1][0].mu for state in (whole, parts)]
  close(*moments, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(('devices', 'parts'), [(1, 1), (2, 1), (8, 1), (2, 2)])
def test_each_group_is_clipped_by_itself_on_any_number_of_devices(
  config, batch, devices, parts
):
  """One step is the mean of the steps of four groups of neighbors."""
  config.model.name, config.optimizer = 'no_norm', 'sgd'
  config.mixup = config.cutmix = config.weight_decay = 0.0
  config.lr = config.warmup_lr = 1.0
  alone = [
    updated(config, {k: v[i : i + 2] for k, v in batch.items()})[1]
    for i in (0, 2, 4, 6)
  ]
  norms = [float(metrics['grad_norm']) for metrics in alone]
  config.grad_clip_norm = sum(sorted(norms)[1:3]) / 2  # Two are clipped.
  steps_alone = [
    updated(config, {k: v[i : i + 2] for k, v in batch.items()})[0].params
    for i in (0, 2, 4, 6)
  ]
  config.grad_clip_groups, config.grad_accum_steps = 4, parts
  state, metrics = updated(config, batch, devices=devices)
  mean = jax.tree.map(lambda *x: sum(x) / 4, *steps_alone)
  close(state.params, mean, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(metrics['grad_norm'], sum(norms) / 4, rtol=1e-4)
  losses = [metrics['loss'] for metrics in alone]
  np.testing.assert_allclose(metrics['loss'], sum(losses) / 4, rtol=1e-5)


def test_each_part_of_a_batch_updates_the_running_statistics(config, batch):
  """Two parts give the same as two steps with half of the batch."""
  config.mixup = config.cutmix = 0.0
  config.grad_accum_steps = 2
  config.lr = config.warmup_lr = 0.0
  both, _ = updated(config, batch)
  config.grad_accum_steps = 1
  state, _ = updated(config, {k: v[::2] for k, v in batch.items()})
  graphdef, _, _ = split(create(config))
  second = nnx.merge(graphdef, state.params, state.batch_stats)
  state, _ = updated(
    config, {k: v[1::2] for k, v in batch.items()}, model=second
  )
  close(both.batch_stats, state.batch_stats, rtol=1e-4, atol=1e-6)


FROZEN = {
  'optimizer': 'sgd',
  'weight_decay': 0.1,
  'decay_all': True,
  'lr': 0.1,
  'warmup_epochs': 0.0,
  'ema': 0.9,
}


@pytest.mark.parametrize(
  'changes',
  [{}, {'grad_accum_steps': 2}, {'optimizer': 'adamw'}],
  ids=['sgd', 'accumulated', 'adamw'],
)
def test_frozen_norms_keep_their_statistics_and_weights(config, batch, changes):
  """To the bit, in the moving average too; everything else moves."""
  config.update(FROZEN | changes)
  model = create(config)
  key = jax.random.key(1)
  for name in ('scale', 'bias', 'mean', 'var'):
    key, _ = jax.random.split(key)
    getattr(model.norm, name).set_value(jax.random.uniform(key, 8) + 0.3)
  batch_norm.freeze(model, 'all')
  _, params, batch_stats = split(model)
  state, _ = updated(config, batch, count=3, model=model)
  same = functools.partial(close, rtol=0)
  for found in (state, state.replace(**state.average)):
    same(found.batch_stats, batch_stats)
    same(found.params['norm'], params['norm'])
    moves = jax.tree.map(lambda a, b: (a != b).any(), found.params, params)
    assert all(jax.tree.leaves([moves['conv'], moves['head']]))


def test_frozen_norms_have_no_share_in_the_norm_of_the_gradient(config, batch):
  """They use their running statistics, as in evaluation."""
  config.update(FROZEN)
  config.mixup = config.cutmix = 0.0
  model = create(config)
  batch_norm.freeze(model, 'all')
  _, metrics = updated(config, batch, model=model)
  graphdef, params, stats = split(model)

  def loss(params):
    model = nnx.merge(graphdef, params, stats)
    keys = steps.random_keys(config.seed, 0)
    images, targets = steps.inputs_and_targets(batch, config, 4, keys)
    return optax.softmax_cross_entropy(model(images), targets).mean()

  value, grads = jax.value_and_grad(loss)(params)
  close(metrics['loss'], value, rtol=1e-5)
  del grads['norm']
  close(metrics['grad_norm'], optax.tree.norm(grads), rtol=1e-5)


def test_a_factor_of_0_keeps_parameters(config, batch):
  """All but the head, which moves; they are not clipped with it either."""
  config.update(FROZEN)
  config.param_groups = (('', 0.0, 0.0), ('head', 1.0, 1.0))
  model = create(config)
  _, params, _ = split(model)
  state, metrics = updated(config, batch, count=2, model=model)
  for name in ('conv', 'norm'):
    close(state.params[name], params[name], rtol=0)
    close(state.average['params'][name], params[name], rtol=0)
  assert (state.params['head']['bias'] != params['head']['bias']).all()
  config.param_groups = ()
  _, whole = updated(config, batch, count=2)
  assert metrics['grad_norm'] < whole['grad_norm']


@pytest.mark.parametrize('name', ['sgd', 'adamw'])
def test_a_head_alone_is_trained_and_nothing_else_gathers_momentum(
  config, batch, name
):
  """Statistics stay too; then the optimizer restarts at its schedule's step."""
  config.update(FROZEN | {'optimizer': name, 'decay_all': True})
  model = create(config)
  batch_norm.freeze(model, 'all')
  _, params, batch_stats = split(model)
  names = set(jax.tree.leaves(optimizer.names(params)))
  body = names - {'head.kernel', 'head.bias'}
  state, metrics = updated(config, batch, count=3, model=model, frozen=body)
  for found in (state, state.replace(**state.average)):
    close(found.batch_stats, batch_stats, rtol=0)
    for part in ('conv', 'norm'):
      close(found.params[part], params[part], rtol=0)
    assert (found.params['head']['bias'] != params['head']['bias']).all()
  assert metrics['grad_norm'] > 0

  def largest(key):
    paths = jax.tree_util.tree_leaves_with_path(state.opt_state)
    of_key = [x for path, x in paths if key in jax.tree_util.keystr(path)]
    assert of_key
    return max(float(abs(x).max()) for x in of_key)

  assert largest("'conv'") == largest("'norm'") == 0 < largest("'head'")
  fresh = optimizer.make(config).init(params)
  restarted = optimizer.without_moments(state.opt_state)
  assert jax.tree.structure(restarted) == jax.tree.structure(fresh)
  kept = [int(x) for x in jax.tree.leaves(restarted) if x.any()]
  assert kept == [3]  # The step of the schedule.


def test_a_batch_that_does_not_divide_into_parts_is_refused(config):
  config.grad_accum_steps = 2
  with pytest.raises(ValueError, match='grad_accum_steps must divide'):
    recipe_rules.check_batch_size(config)
  config.data.repeated_aug = 2
  recipe_rules.check_batch_size(config)


def test_the_moving_average_follows_its_formula(config, batch):
  config.ema = 0.15
  states = [updated(config, batch, count)[0] for count in (1, 2)]
  _, params, batch_stats = split(create(config))
  expected = {'params': params, 'batch_stats': batch_stats}
  # (1 + step) / (10 + step) is 0.1, then 0.18, which is above 0.15.
  for state, decay in zip(states, (0.1, 0.15), strict=True):
    weights = {'params': state.params, 'batch_stats': state.batch_stats}
    mean = lambda old, new, d=decay: d * old + (1 - d) * new  # noqa: E731
    expected = jax.tree.map(mean, expected, weights)
    close(state.average, expected, rtol=1e-5, atol=1e-7)
  assert state.weights[0] is state.average['params']


def test_the_average_of_a_short_run_is_of_its_last_tenth():
  """A decay of 0.9999 has no effect before step 90 000."""
  shares = np.eye(501)[0]  # Of the initial weights, and of those of each step.
  for step in range(500):
    average = {'params': {'w': shares}, 'batch_stats': {}}
    new = {'w': np.eye(501)[step + 1]}
    moved = moving_average(average, new, {}, np.float64(step), 0.9999)
    shares = moved['params']['w']
  assert shares[0] < 1e-9
  np.testing.assert_allclose(shares.sum(), 1)
  age = 500 - shares @ np.arange(501)
  assert 40 < age < 60


def test_without_ema_the_last_weights_are_evaluated(config, batch):
  state, _ = updated(config, batch)
  assert state.average == {}
  assert state.weights == (state.params, state.batch_stats)


def test_flattened_images_are_mixed_if_the_config_says_so(config, batch):
  """CutMix then pastes one box into the image, not one into every frame."""
  config.mixup, config.cutmix, config.mix_stage = 0.0, 1.0, 'after_flatten'
  keys = steps.random_keys(0, 3)
  images, targets = steps.inputs_and_targets(batch, config, 4, keys)
  clips = preprocess.normalize(batch['clip'], config)
  plain = mixing.soft_targets(batch['label'], 4, config.label_smoothing)
  expected = mixing.mix(
    flatten(clips), plain, keys['mix'], mixup=0.0, cutmix=1.0
  )
  close((images, targets), expected, rtol=1e-6)
  config.mix_stage = 'before_flatten'
  other, _ = steps.inputs_and_targets(batch, config, 4, keys)
  assert (images != other).any()


class VideoModel(nnx.Module):
  """Takes clips, and returns logits of two heads in training."""

  takes_clips = True

  def __init__(self, config, num_classes, *, rngs):
    self.head = nnx.Linear(3, num_classes, rngs=rngs)
    self.head_cls = nnx.Linear(3, num_classes, rngs=rngs)

  def __call__(self, clips, train=False, rngs=None):
    assert clips.shape[1:] == (4, 32, 32, 3)
    x = clips.mean((1, 2, 3))
    heads = self.head(x), self.head_cls(x)
    return heads if train else heads[0]


@pytest.fixture
def video_model(config, monkeypatch):
  entry = models.ModelEntry(VideoModel, None)
  monkeypatch.setitem(models.MODELS, 'video', entry)
  config.model.name = 'video'
  return create(config)


@pytest.mark.parametrize('layout', ['row_major', 'random'])
def test_a_video_model_gets_clips_and_trains_all_its_heads(
  config, batch, video_model, layout
):
  config.flatten = layout
  config.mixup = config.cutmix = config.grad_clip_norm = 0.0
  state, metrics = updated(config, batch, model=video_model)
  clips = preprocess.normalize(batch['clip'], config)
  targets = mixing.soft_targets(batch['label'], 4, config.label_smoothing)

  def loss(heads):
    losses = [optax.softmax_cross_entropy(x, targets).mean() for x in heads]
    return 0.5 * losses[0] + 0.5 * losses[1]

  expected = loss(video_model(clips, train=True))
  np.testing.assert_allclose(metrics['loss'], expected, rtol=1e-5)
  graphdef, params, _ = split(video_model)
  grads = jax.grad(lambda p: loss(nnx.merge(graphdef, p)(clips, train=True)))(
    params
  )
  moments = jax.tree.map(lambda m: 10 * m, state.opt_state[0].mu)
  close(moments, grads, rtol=1e-4, atol=1e-6)
  rows = jax.numpy.arange(len(batch['label']))
  images = preprocess.eval_inputs(
    batch | {'index': rows, 'view': rows}, config
  )['images']
  logits = nnx.merge(graphdef, params)(images)
  close(logits, video_model(clips), rtol=1e-5, atol=1e-6)


def test_a_bgr_model_trains_as_an_rgb_model_on_reversed_channels(config, batch):
  """Clips are mixed, which treats all channels alike."""
  config.mean, config.std = (0.1, 0.2, 0.3), (0.2, 0.3, 0.4)
  reversed_batch = batch | {'clip': batch['clip'][..., ::-1].copy()}
  reference, metrics = updated(config, reversed_batch)
  config.channels = 'bgr'
  state, other = updated(config, batch)
  close((metrics, reference.params), (other, state.params), rtol=1e-6)


class Numbered(VideoModel):
  """Adds the sum of the frames' numbers to the first logits."""

  takes_positions = True

  def __call__(self, clips, train=False, rngs=None, positions=None):
    del train, rngs
    first = jax.nn.one_hot(0, len(CLASSES))[None]
    return self.head(clips.mean((1, 2, 3))) + positions.sum(1)[:, None] * first


@pytest.mark.parametrize(
  'parts', [{}, {'grad_accum_steps': 4}, {'grad_clip_groups': 2}]
)
def test_a_model_that_takes_positions_gets_those_of_its_clips(
  config, batch, video_model, parts
):
  del video_model  # Only its place in the registry.
  config.update(parts)
  config.mixup = config.cutmix = 0.0
  numbers = np.random.default_rng(0).integers(0, 3, (8, 4)).astype(np.int32)
  model, rows = Numbered(None, len(CLASSES), rngs=nnx.Rngs(0)), np.arange(8)
  batch |= {'positions': numbers, 'index': rows, 'view': rows}
  clips = preprocess.normalize(batch['clip'], config)
  targets = mixing.soft_targets(batch['label'], 4, config.label_smoothing)
  expected = model(clips, positions=numbers)
  _, metrics = updated(config, batch, model=model)
  losses = optax.softmax_cross_entropy(expected, targets)
  np.testing.assert_allclose(metrics['loss'], losses.mean(), rtol=1e-5)
  # Also those of test views, whatever the order of the frames.
  config.eval_frame_order = 'reversed'
  inputs = preprocess.eval_inputs(batch, config)
  close(preprocess.call(model, inputs), expected, rtol=1e-4, atol=1e-5)


def test_a_step_depends_on_no_earlier_random_numbers(config, batch):
  """Random numbers are a function of (seed, step)."""
  one, _ = updated(config, batch)
  two, _ = updated(config, batch)
  jax.tree.map(np.testing.assert_array_equal, one, two)
  first, second = (steps.random_keys(0, step)['mix'] for step in (0, 1))
  assert jnp.any(jax.random.key_data(first) != jax.random.key_data(second))


def test_a_state_is_short_when_printed():
  params = {'head': jax.numpy.zeros((3, 1000))}
  text = repr(TrainState.create(params, {}, optax.sgd(0.1)))
  assert text == 'TrainState(step=0, 0.003 M parameters)'
