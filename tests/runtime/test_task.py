# SPDX-License-Identifier: Apache-2.0
"""Losses and probabilities of one label per video, and of several."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

from configs import common
from flatten_jax.runtime import loaded_model, task as tasks
from flatten_jax.runtime.configuration import config as configs
from flatten_jax.training import mixing

LOGITS = np.array([[2.0, -1.0, 0.5], [-3.0, 0.0, 1.0]], np.float32)
TARGETS = np.array([[1, 0, 1], [0, 1, 0]], np.float32)


def test_the_loss_of_several_labels_is_binary_cross_entropy():
  p = scipy.special.expit(LOGITS)
  expected = -(TARGETS * np.log(p) + (1 - TARGETS) * np.log(1 - p)).mean(-1)
  found = tasks.MULTI_LABEL.loss(jnp.array(LOGITS), jnp.array(TARGETS))
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_hit_is_a_most_probable_class_that_is_a_label():
  found = tasks.MULTI_LABEL.hits(jnp.array(LOGITS), jnp.array(TARGETS))
  assert found.tolist() == [True, False]
  mixed = 0.7 * TARGETS + 0.3 * TARGETS[::-1]  # The larger share has the label.
  found = tasks.MULTI_LABEL.hits(jnp.array(LOGITS), jnp.array(mixed))
  assert found.tolist() == [True, False]


def test_one_label_has_the_loss_and_the_hits_that_it_had():
  logits, targets = jnp.array(LOGITS), jnp.array([[0.2, 0.7, 0.1]] * 2)
  np.testing.assert_array_equal(
    tasks.SINGLE_LABEL.loss(logits, targets),
    optax.softmax_cross_entropy(logits, targets),
  )
  assert tasks.SINGLE_LABEL.hits(logits, targets).tolist() == [False, False]


@pytest.mark.parametrize('task', [tasks.SINGLE_LABEL, tasks.MULTI_LABEL])
def test_logits_and_activation_fit_the_probabilities(task):
  probabilities = task.probabilities(LOGITS.astype(np.float64))
  np.testing.assert_allclose(
    task.activation(jnp.array(LOGITS)), probabilities, rtol=1e-5
  )
  again = task.probabilities(task.logits(probabilities))
  np.testing.assert_allclose(again, probabilities, rtol=1e-9)
  certain = task.logits(np.array([0.0, 1.0, 0.5]))
  assert np.isfinite(certain.astype(np.float32)).all()


def test_views_of_several_labels_are_averaged_after_the_sigmoid():
  means = loaded_model.ViewMeans('probs', 2, tasks.MULTI_LABEL)
  batch = {
    'logits': LOGITS,
    'index': np.zeros(2, int),
    'mask': np.ones(2, bool),
  }
  assert means.add(batch) == [0]
  expected = scipy.special.expit(LOGITS).mean(0)
  found = tasks.MULTI_LABEL.probabilities(means.pop(0) / 2)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_several_labels_are_smoothed_and_mixed_like_one():
  hot = jnp.array([[1, 0, 1, 0], [0, 1, 0, 0]], jnp.int8)
  smooth = mixing.soft_targets(hot, 4, 0.1)
  np.testing.assert_allclose(smooth[0], [0.925, 0.025, 0.925, 0.025], rtol=1e-6)
  single = mixing.soft_targets(jnp.array([1]), 4, 0.1)
  np.testing.assert_array_equal(smooth[1:], single)


def several(**changes):
  config = common.base()
  config.data.multi_label = True
  config.update_from_flattened_dict(changes)
  return config


def test_the_best_validation_and_the_views_follow():
  config = configs.fill_and_check(several())
  assert (config.save_best_by, config.eval_average) == ('map', 'probs')
  config = configs.fill_and_check(
    several(save_best_by='loss', eval_average='logits')
  )
  assert (config.save_best_by, config.eval_average) == ('loss', 'logits')


@pytest.mark.parametrize(
  ('key', 'value'),
  [
    ('data.balanced', True),
    ('data.images', '/images'),
    ('data.split_dir', '/splits'),
    ('order_report', True),
    ('save_best_by', 'top5'),
    ('save_best_by', 'mean_class'),
  ],
)
def test_what_needs_one_label_is_refused(key, value):
  with pytest.raises(ValueError, match=rf'config\.{key}.*multi_label=True'):
    configs.fill_and_check(several(**{key: value}))


def test_one_label_has_no_average_precision():
  config = several(save_best_by='map')
  config.data.multi_label = False
  with pytest.raises(ValueError, match=r'needs config\.data\.multi_label=True'):
    configs.fill_and_check(config)
