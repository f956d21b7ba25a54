# SPDX-License-Identifier: Apache-2.0
"""A run with a result, to push."""

import pathlib

from flax import nnx
import jax
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.evaluation import metrics, report, results
from flatten_jax.evaluation.predictions import Predictions
from tests.support import small_run


@pytest.fixture(scope='session')
def run(tmp_path_factory):
  """The workdir of a run with a test; clips/ is next to it."""
  workdir = small_run.make(tmp_path_factory.mktemp('Alice_Example'))
  write_result(workdir, 'test', views='16x4x1x1', step=0)
  write_result(workdir, 'test_3x4', views='16x4x3x4', step=0)
  write_result(workdir, 'test_step_9', views='16x4x1x1', step=9)
  return workdir


def write_result(workdir, name: str, views: str, step: int) -> None:
  """Writes a test of 24 videos, of which 21 are right, as evaluation does."""
  names = fj.load(workdir).class_names
  labels = np.arange(24) % len(names)
  answers = np.where(np.arange(24) < 3, labels + 1, labels)
  logits = 4 * np.eye(len(names), dtype=np.float32)[answers]
  ids = np.array([f'/home/alice/{i}.mp4' for i in range(24)])
  scored = np.ones(24, bool)
  predictions = Predictions(ids, labels, logits, scored, names, views)
  protocol = {'views': views, 'step': step, 'data': '/home/alice/videos'}
  scores = metrics.compute_metrics(predictions) | report.details(predictions)
  scores |= {'gflops_per_view': 0.25, 'params_m': 0.5, 'step': step}
  scores |= {'name': name, 'protocol': protocol}
  scores['warnings'] = ['Only 24 test videos: it is uncertain.']
  results.write_results(workdir, name, scores, predictions)


@pytest.fixture(scope='session')
def pushed(run):
  """The folder that the run was pushed to."""
  return pathlib.Path(fj.push(run, run.parent / 'pushed'))


def same_weights(one, other) -> bool:
  """Returns whether two models have the same values, to the bit."""
  ours, theirs = (jax.tree.leaves(nnx.state(x)) for x in (one, other))
  return len(ours) == len(theirs) and all(map(np.array_equal, ours, theirs))
