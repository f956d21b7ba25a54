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


HALF = {'mean': (0.5, 0.5, 0.5), 'std': (0.5, 0.5, 0.5)}


@pytest.mark.parametrize(
  ('name', 'weights', 'normalization'),
  [
    ('vit_small_patch16_224', '', HALF),
    ('vit_base_patch16_224', 'imagenet21k_1k', HALF),
    ('vit_base_patch16_224', 'vit.safetensors', HALF),
    ('vit_base_patch16_224', 'dino', IMAGENET),
    ('convnext_tiny', '', OURS),
    ('convnext_tiny', 'imagenet22k', IMAGENET),
    ('convnext_tiny', 'convnext.safetensors', IMAGENET),
  ],
)
def test_networks_of_timm_expect_what_their_weights_do(
  name, weights, normalization
):
  assert models.input_spec(name, weights) == models.InputSpec(**normalization)


# Inputs of the compared systems, from their papers and code: frames of
# training and of a test view, their distance, the sampling rule, test clips x
# crops, crop and short side in the test, average, channels, normalization.
VIDEO_SWIN = (32, 32, 2, 'mmaction2', 4, 3, 224, 224, 'probs', 'rgb', IMAGENET)
TIMESFORMER = (8, 8, 32, 'timesformer', 1, 3, 224, 224, 'logits', 'rgb', OURS)
TIMESFORMER_SSV2 = (
  8,
  8,
  32,
  'segment_middle',
  1,
  3,
  224,
  224,
  'logits',
  'bgr',
  OURS,
)
VIVIT = (32, 32, 2, 'vivit', 4, 3, 224, 256, 'logits', 'rgb', HALF)
VIDTR = (32, 32, 2, 'vidtr', 10, 3, 224, 224, 'probs', 'rgb', IMAGENET)
VTN = (16, 250, 8, 'vtn', 1, 1, 224, 256, 'logits', 'rgb', OURS)


SLOWFAST = (64, 64, 2, 'pyslowfast', 10, 3, 256, 256, 'probs', 'rgb', OURS)
SEGMENTS = (8, 8, 4, 'tsn', 1, 1, 224, 256, 'logits', 'rgb', IMAGENET)
INCEPTION = (64, 250, 1, 'i3d', 1, 1, 224, 256, 'logits', 'rgb', HALF)
CENTER = {'mean': (128 / 255,) * 3, 'std': (1 / 255,) * 3}
TWO_STREAM = (1, 1, 4, 'tsn_caffe', 25, 10, 224, 256, 'logits', 'rgb', CENTER)
BGR = {'mean': (104 / 255, 117 / 255, 128 / 255), 'std': (1 / 255,) * 3}
CAFFE = (3, 25, 4, 'tsn_caffe', 1, 10, 224, 256, 'logits', 'bgr', BGR)


def changed(row, **at):
  """Returns a row with other first figures: frames, stride, crop, clips."""
  places = {'frames': (0, 1), 'stride': (2,), 'crop': (6, 7), 'clips': (4,)}
  row = list(row)
  for key, value in at.items():
    for place in places.get(key, (3,)):
      row[place] = value
  return tuple(row)


LONG_SSV2 = changed(TIMESFORMER_SSV2, frames=64, stride=4)
LONG = changed(SLOWFAST, frames=128, stride=1, rule='nonlocal')
HIGH = {'frames': 16, 'stride': 16, 'crop': 448}
COMPARED = {
  'video_swin_t': VIDEO_SWIN,
  'video_swin_t kinetics400': VIDEO_SWIN,
  'video_swin_t imagenet1k': VIDEO_SWIN,
  'video_swin_s': VIDEO_SWIN,
  'video_swin_s kinetics400': VIDEO_SWIN,
  'video_swin_b': VIDEO_SWIN,
  'video_swin_b kinetics400': VIDEO_SWIN,
  'video_swin_b kinetics400_22k': VIDEO_SWIN,
  'video_swin_b kinetics600_22k': VIDEO_SWIN,
  'video_swin_b kinetics400_window16': VIDEO_SWIN,
  'video_swin_b ssv2': changed(VIDEO_SWIN, clips=1, rule='segment_middle'),
  'timesformer_b': TIMESFORMER,
  'timesformer_b kinetics400': TIMESFORMER,
  'timesformer_b kinetics600': TIMESFORMER,
  'timesformer_b imagenet21k': TIMESFORMER,
  'timesformer_b ssv2': TIMESFORMER_SSV2,
  'timesformer_hr': changed(TIMESFORMER, **HIGH),
  'timesformer_hr kinetics600': changed(TIMESFORMER, **HIGH),
  'timesformer_hr ssv2': changed(TIMESFORMER_SSV2, **HIGH),
  'timesformer_l': changed(TIMESFORMER, frames=96, stride=4),
  'timesformer_l kinetics400': changed(TIMESFORMER, frames=96, stride=4),
  'timesformer_l ssv2': LONG_SSV2,
  'vivit_b': VIVIT,
  'vivit_b kinetics400': VIVIT,
  'vivit_b_fe': VIVIT,
  'vivit_b_fe kinetics400': VIVIT,
  'vivit_l': VIVIT,
  'vivit_l imagenet21k': VIVIT,
  'vivit_l_fe': VIVIT,
  'vivit_l_fe kinetics600': VIVIT,
  'vtn_b': VTN,
  'vtn_b kinetics400': VTN,
  'vtn_b imagenet21k': VTN,
  'vidtr_s': changed(VIDTR, frames=8, stride=8),
  'vidtr_m kinetics400': changed(VIDTR, frames=16, stride=4),
  'vidtr_l': VIDTR,
  'vidtr_l kinetics400': VIDTR,
  'vidtr_l imagenet21k': VIDTR,
  'slowfast_r50': changed(SLOWFAST, frames=32),
  'slowfast_r50 kinetics400': changed(SLOWFAST, frames=32),
  'slowfast_r101 kinetics400': SLOWFAST,
  'slowfast_r101_nl': SLOWFAST,
  'i3d_r50': changed(SLOWFAST, frames=8, stride=8),
  'i3d_r101_nl': changed(SLOWFAST, frames=8, stride=8),
  'i3d_r101_nl_long359': LONG,
  'tsn_r50 kinetics400': SEGMENTS,
  'tsn_r50': SEGMENTS,
  'motion_squeeze_r50': SEGMENTS,
  'tdn_r50': changed(SEGMENTS, frames=40, rule='tdn'),
  'two_stream_temporal': TWO_STREAM,
  'i3d_inception kinetics400': INCEPTION,
  'tsn_bninception': CAFFE,
}


def row_of(spec):
  """Returns an input spec as a row of `COMPARED`."""
  return (
    spec.num_frames,
    spec.test_frames or spec.num_frames,
    spec.stride,
    spec.sampling,
    spec.num_clips,
    spec.num_crops,
    spec.test_crop or spec.crop,
    spec.test_short_side or spec.crop,
    spec.average,
    spec.channels,
    {'mean': spec.mean, 'std': spec.std},
  )


@pytest.mark.parametrize('name', COMPARED)
def test_a_compared_system_is_tested_as_it_was_published(name):
  assert row_of(models.input_spec(*name.split())) == COMPARED[name]


@pytest.mark.parametrize(
  ('twin', 'model', 'views'),
  [
    ('video_swin_test', 'video_swin_t', (4, 3, 32, 32)),
    ('timesformer_test', 'timesformer_b', (1, 3, 48, 48)),
    ('vivit_test', 'vivit_l', (4, 3, 32, 36)),
    ('vivit_fe_test', 'vivit_l_fe', (4, 3, 32, 36)),
    ('vtn_test', 'vtn_b', (1, 1, 32, 36)),
    ('vidtr_test', 'vidtr_l', (10, 3, 32, 32)),
  ],
)
def test_a_twin_is_tested_as_its_family_on_small_frames(twin, model, views):
  row, whole = row_of(models.input_spec(twin)), row_of(models.input_spec(model))
  assert row[4:8] == views
  assert row[2:6] + row[8:] == whole[2:6] + whole[8:]
  assert (row[1] > row[0]) == (whole[1] > whole[0])


@pytest.mark.parametrize(
  'name', [name for name, entry in models.MODELS.items() if entry.weights]
)
def test_published_weights_change_fields_of_an_input_spec(name):
  for weights, published in models.MODELS[name].weights.items():
    spec = models.input_spec(name, weights)
    own = models.input_spec(name)
    normalization = dataclasses.asdict(own) | published.input
    of_images = weights.startswith('imagenet') and not models.takes_clips(name)
    if of_images and own.mean == models.InputSpec().mean:
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
    (
      'tsn_bninception',
      'hmdb51_split2',
      {'mean': (104 / 255, 117 / 255, 123 / 255)},
    ),
    (
      'i3d_r50_nl',
      'kinetics400_32f',
      {'num_frames': 32, 'sampling': 'nonlocal', 'stride': 2},
    ),
    ('tdn_r101', 'ssv2_16f', {'num_frames': 80}),
    (
      'tdn_r50',
      'kinetics400',
      {'num_clips': 10, 'num_crops': 3, 'test_crop': 256},
    ),
    ('tsn_r50', 'ssv2', {'test_frames': 25, 'num_crops': 10}),
    (
      'tsn_r50',
      'ssv2_16f',
      {'num_frames': 16, 'test_frames': 25, 'num_crops': 10},
    ),
    (
      'slowfast_r50',
      'ssv2',
      {'sampling': 'segment_middle', 'num_clips': 1},
    ),
    ('slowfast_r101_nl', 'kinetics600_32f', {'num_frames': 32}),
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
