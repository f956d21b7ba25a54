# SPDX-License-Identifier: Apache-2.0
"""Tests of parity of convolutional video models with the official code."""

import json
import pathlib

import jax
import numpy as np
import pytest

from tests.support import convnets, official

# The smallest file of each family; the first takes less than 20 seconds.
QUICK = (
  'tsn_r50_2x3x3x64x64',
  'i3d_r50_nl_2x3x8x32x32',
  'slowfast_r101_nl_2x3x16x32x32',
  'tsn_bninception_flow_1x10x3x64x64',
  'tdn_r50_8f_2x3x40x48x48',
  'msnet_r50_16f_1x3x16x56x64',
  'i3d_inception_1x3x9x193x224',
  'two_stream_spatial_cnnm2048_1x3x224x224',
)


def marked(files, quick=QUICK):
  """Marks the smallest of a family as slow, but the first; others as large."""
  marks = dict.fromkeys(quick, pytest.mark.slow) | {QUICK[0]: ()}
  return [
    pytest.param(file, marks=marks.get(file, pytest.mark.large))
    for file in files
  ]


def assert_close(ours, theirs, name=''):
  """Compares in float64: 1e-8 of the largest of theirs."""
  official.assert_close(ours, theirs, rtol=0, atol=1e-8, name=name)


def norms(x):
  """Returns the norm of every channel of every clip. [B ... C] -> [B C]."""
  return np.sqrt(np.square(x).sum(axis=tuple(range(1, x.ndim - 1))))


def assert_same_norms(case, params, prefix=''):
  names = case.truth.get(f'{prefix}grad_param_names')
  names = case.truth['grad_param_names'] if names is None else names
  translated = official.translation(case.model, names)
  # Unused tensors of the file are not ours.
  assert set(translated.values()) == params.keys()
  theirs = case.truth[f'{prefix}grad_param_l2']
  ours = [
    np.sqrt(np.square(params[translated[str(name)]]).sum())
    if str(name) in translated
    else theirs[i]
    for i, name in enumerate(names)
  ]
  assert_close(ours, theirs, name=f'{prefix}gradients of parameters')


@pytest.mark.parametrize('file', marked(convnets.FILES))
def test_everything_agrees_in_float64(parity_folder, file):
  with jax.enable_x64(True):
    case = convnets.load(parity_folder, file, 'float64')
    found = convnets.run(case, 'float64', look=True)

  truth = case.truth
  assert_close(found.logits, truth['logits'])
  if 'logits_positions' in truth:
    theirs = truth['logits_positions']
    assert_close(found.positions.reshape(theirs.shape), theirs)
  if 'scores' in truth:
    assert_close(convnets.softmax(found.output), truth['scores'])
  assert_close(norms(found.grad_x), truth['grad_input_l2'])
  for step in (7, 21):
    if f'grad_input_sub{step}' in truth:
      theirs = np.moveaxis(truth[f'grad_input_sub{step}'], 1, -1)
      assert_close(found.grad_x[..., ::step, ::step, :], theirs)
  assert_same_norms(case, found.params)
  summaries = convnets.summaries(truth)
  for name, kind, theirs in summaries:
    ours = convnets.SUMMARIES[kind](found.seen[name])
    assert_close(ours, theirs, name=f'{name}, {kind}')
  assert len(summaries) >= 3


# Twins hold what training computes in every run, see below.
@pytest.mark.parametrize('file', marked(convnets.TRAINED, QUICK[:1]))
def test_training_agrees_in_float64(parity_folder, file):
  assert_same_training(parity_folder, file, 'none')


@pytest.mark.large
@pytest.mark.parametrize('file', convnets.PARTLY_TRAINED)
def test_training_with_frozen_norms_agrees_in_float64(parity_folder, file):
  assert_same_training(parity_folder, file, 'all_but_first')


def assert_same_training(folder, file, frozen):
  prefix = 'train/' if frozen == 'none' else 'train_partial/'
  with jax.enable_x64(True):
    case = convnets.load(folder, file, 'float64', frozen)
    found = convnets.run(case, 'float64', train=True)

  truth = case.truth
  assert_close(found.logits, truth[f'{prefix}logits'])
  assert_close(norms(found.grad_x), truth[f'{prefix}grad_input_l2'])
  if f'{prefix}grad_param_l2' in truth:
    assert_same_norms(case, found.params, prefix)
  running = {
    convnets.statistic(key): value
    for key, value in truth.items()
    if key.startswith(prefix) and 'running' in key
  }
  names = official.translation(case.model, running)
  assert names.keys() == running.keys()
  for name, value in running.items():
    assert_close(found.stats[names[name]], value, name=name)


@pytest.mark.parametrize('file', marked(convnets.FILES))
def test_logits_agree_in_float32(parity_folder, file):
  case = convnets.load(parity_folder, file, 'float32')
  output, truth = convnets.output(case), case.truth
  if 'scores' in truth:
    scores = convnets.softmax(output)
    np.testing.assert_allclose(scores, truth['scores'], rtol=0, atol=1e-6)
  # Of several positions, a model averages the probabilities.
  several = {'scores', 'logits_positions'} <= truth.keys()
  logits = np.log(truth['scores']) if several else truth['logits']
  atol = 3e-5 if file.startswith('two_stream') else 1e-5
  np.testing.assert_allclose(output, logits, rtol=0, atol=atol)


@pytest.mark.parametrize('twin', convnets.TWINS)
def test_the_tiny_twin_computes_what_it_did_when_the_files_agreed(twin):
  path = pathlib.Path(__file__).parents[1] / 'fixtures/clip_convnets.json'
  golden = json.loads(path.read_text())[twin]
  with jax.enable_x64(True):
    ours = convnets.measure(twin)
  for key in ('logits', 'trained', 'input'):
    assert_close(ours[key], golden[key], name=key)
  for key in ('parameters', 'statistics'):
    assert ours[key].keys() == golden[key].keys()
    for name, norm in golden[key].items():
      np.testing.assert_allclose(ours[key][name], norm, 1e-8, 1e-12)
