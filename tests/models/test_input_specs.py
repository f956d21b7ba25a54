# SPDX-License-Identifier: Apache-2.0
"""The input of every model, and of its published weights."""

import dataclasses

import pytest

from flatten_jax import models
from tests.support import plain_cnn

OURS = {'mean': (0.45, 0.45, 0.45), 'std': (0.225, 0.225, 0.225)}
IMAGENET = {'mean': models.IMAGENET_MEAN, 'std': models.IMAGENET_STD}


@pytest.mark.parametrize(
  ('name', 'frames', 'sampling', 'crop'),
  [
    ('resnet50', 16, 'dense', 224),
    ('resnet101', 16, 'dense', 224),
    ('swinv2_t', 16, 'dense', 192),
    ('uniformer_s', 16, 'dense', 224),
    ('uniformer_xxs', 16, 'segment', 160),
    ('uniformer_nano', 9, 'segment', 32),
    ('uniformer3d_s', 16, 'dense', 224),
    ('uniformer3d_xxs', 16, 'segment', 160),
    ('uniformer3d_nano', 9, 'segment', 32),
  ],
)
def test_a_model_expects_the_clips_of_its_table_row(
  name, frames, sampling, crop
):
  assert models.input_spec(name) == models.InputSpec(
    num_frames=frames, sampling=sampling, stride=4, crop=crop, **OURS
  )


@pytest.mark.parametrize('name', models.list_models())
def test_published_weights_change_fields_of_an_input_spec(name):
  for weights in models.MODELS[name].weights:
    spec = models.input_spec(name, weights)
    own = models.input_spec(name)
    normalization = dataclasses.asdict(own)
    if not models.takes_clips(name) and name != 'bn_inception':
      normalization = IMAGENET
    assert spec.mean == normalization['mean'], weights
    assert spec.std == normalization['std'], weights


@pytest.mark.parametrize(
  ('name', 'weights', 'changes'),
  [
    ('uniformer3d_s', 'kinetics400', {}),
    ('uniformer3d_s', 'kinetics400_8x8', {'num_frames': 8, 'stride': 8}),
    ('uniformer3d_s', 'ssv2', {'sampling': 'segment'}),
    ('uniformer3d_xxs', 'kinetics400_8f', {'num_frames': 8}),
    ('uniformer_s', 'imagenet1k', IMAGENET),
    ('uniformer_s', '/somewhere/weights.pth', IMAGENET),
    ('uniformer_s', 'weights.safetensors', IMAGENET),
    ('uniformer_s', 'https://example.org/weights?id=1', IMAGENET),
    ('uniformer3d_s', '/somewhere/weights.pth', {}),
    ('uniformer_s', '/a/workdir', {}),
  ],
)
def test_initial_weights_bring_their_input(name, weights, changes):
  expected = dataclasses.replace(models.input_spec(name), **changes)
  assert models.input_spec(name, weights) == expected


def test_an_external_model_may_bring_its_input(monkeypatch):
  path = 'tests.support.plain_cnn:build_nnx'
  assert models.input_spec(path) == models.InputSpec()
  spec = models.InputSpec(num_frames=4, crop=64)
  monkeypatch.setattr(plain_cnn.build_nnx, 'input_spec', spec, raising=False)
  assert models.input_spec(path) == spec
  assert not models.takes_clips(path)


def test_the_input_of_an_unknown_model_is_refused():
  with pytest.raises(ValueError, match=r"'uniformer_xl'.*uniformer_s"):
    models.input_spec('uniformer_xl')
