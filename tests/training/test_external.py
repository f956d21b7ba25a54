# SPDX-License-Identifier: Apache-2.0
"""Models of other packages are trained on clips by the usual loop."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.explanation import clip_explanation
from flatten_jax.runtime import context, state

HERE = 'tests.support.plain_cnn'
BOTH = [f'{HERE}:build_nnx', f'{HERE}:build_linen']


def draw(*shape):
  rng = np.random.default_rng(0)
  return jnp.asarray(rng.standard_normal(shape, np.float32))


@pytest.mark.parametrize('name', BOTH)
def test_another_model_is_trained_and_scored_on_clips(name, config, tmp_path):
  config.model.name = name
  del config.model.depth
  config.model.drop_path_rate = 0.0  # They have no such option.
  config.epochs = 1.0
  config.warmup_epochs = 0.5
  last = fj.train_and_evaluate(config, tmp_path)
  assert int(last.step) == 3
  model = fj.create_model(name, num_classes=12, image_shape=(32, 32))
  _, params, _ = state.split(model)
  assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, last.params)
  moved = [float(jnp.abs(x).sum()) for x in jax.tree.leaves(last.batch_stats)]
  assert moved[0] > 0  # The running mean starts at zero.
  again = fj.evaluate(None, tmp_path)
  assert again['scored'] == 12
  if name == BOTH[1]:
    with pytest.raises(ValueError, match='Explanations need features'):
      clip_explanation.open_model(tmp_path)
    return
  model = clip_explanation.open_model(tmp_path)
  videos = context.open_videos(config)['test']
  look = clip_explanation.explain_clip(model, videos, 0)
  assert look.evidence[0].shape == (8, 8)
  # Dropout is off, and batch norms use their running statistics.
  logits = model.module(look.inputs['images'])[0]
  np.testing.assert_allclose(
    look.probabilities, jax.nn.softmax(logits), rtol=1e-4
  )


@pytest.mark.parametrize('name', BOTH)
def test_dropout_depends_on_the_key_only(name):
  model = fj.create_model(name, num_classes=5, image_shape=(32, 32))
  graphdef, params, stats = state.split(model)

  def logits(seed, train=True):
    model = nnx.merge(graphdef, params, stats, copy=True)
    rngs = nnx.Rngs(dropout=seed) if train else None
    return model(draw(4, 32, 32, 3), train=train, rngs=rngs)

  np.testing.assert_array_equal(logits(1), logits(1))
  assert np.abs(logits(1) - logits(2)).max() > 1e-3
  np.testing.assert_array_equal(logits(0, train=False), logits(0, train=False))


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('no_such_package.x:build', "'no_such_package' cannot be imported"),
    (f'{HERE}:build_torch', "no function 'build_torch'"),
    (f'{HERE}:PI', "no function 'PI'"),
    (f'{HERE}:build_function', r'returned a function.*fj\.Flattened'),
  ],
)
def test_a_wrong_model_is_refused_with_the_reason(name, message):
  with pytest.raises(ValueError, match=message):
    fj.create_model(name)


def test_an_option_that_the_function_does_not_take_is_refused():
  with pytest.raises(ValueError, match=r'takes \(num_classes, rngs\).*width'):
    fj.create_model(BOTH[0], width=3)
  with pytest.raises(ValueError, match='not accept drop_path_rate'):
    fj.create_model(BOTH[0], drop_path_rate=0.1)


def test_linen_nnx_and_functions_classify_clips_when_flattened():
  clips = draw(2, 4, 16, 16, 3)
  images = fj.flatten(clips)
  module = fj.create_model(BOTH[1], image_shape=(32, 32)).model.to_nnx__module
  variables = module.init(jax.random.key(0), images, train=False)
  bound = module.bind(variables)
  net = fj.create_model(BOTH[0])
  for model, options in (
    (bound, {'train': False}),
    (net, {}),
    (lambda images: images.mean(axis=(1, 2)), {}),
  ):
    logits = fj.Flattened(model)(clips, **options)
    np.testing.assert_allclose(logits, model(images, **options), atol=1e-6)


def numbers_only(clips, positions):
  """Returns the sum of the frames' numbers, for the first of two classes."""
  totals = positions.sum(axis=1)[:, None] * jnp.array([[1.0, 0.0]])
  return totals + 0 * clips.mean()


def test_a_function_that_takes_positions_gets_those_of_the_video(
  clips_root, monkeypatch
):
  for name in ('takes_clips', 'takes_positions'):
    monkeypatch.setattr(numbers_only, name, True, raising=False)
  video = next(clips_root.glob('test/*/*.mp4'))  # It has 24 frames.
  settings = {'num_frames': 4, 'stride': 1, 'crop': 16, 'sampling': 'dense'}
  (found,) = fj.predict(numbers_only, video, **settings)
  odds = np.log(found.probabilities[0] / found.probabilities[1])
  np.testing.assert_allclose(odds, 10 + 11 + 12 + 13, rtol=1e-3)
