# SPDX-License-Identifier: Apache-2.0
"""The convolutional and two-stream systems that the paper compares with.

Inputs are those of the published tests. Twins for the tests (`_test`) have the
same on small frames.
"""

import dataclasses

from flatten_jax.models import (
  bn_inception,
  i3d,
  i3d_inception,
  motion_squeeze,
  slowfast,
  tdn,
  tsn,
  two_stream,
)
from flatten_jax.models.entries.convolutional_weights import (
  VGG_MEAN,
  WEIGHTS,
)
from flatten_jax.models.entries.entry import NANO, ModelEntry
from flatten_jax.models.input_specs import IMAGENET, InputSpec

# PySlowFast's tests.
_VIEWS = {
  'average': 'probs',
  'num_clips': 10,
  'num_crops': 3,
  'test_crop': 256,
  'test_short_side': 256,
}
_SLOWFAST = InputSpec(64, 'pyslowfast', 2, **_VIEWS)
_I3D = InputSpec(8, 'pyslowfast', 8, **_VIEWS)
_I3D_LONG = InputSpec(128, 'nonlocal', 1, **_VIEWS)
# Residual networks on frames of segments.
_SEGMENTS = InputSpec(8, 'tsn', test_short_side=256, **IMAGENET)
_TDN = InputSpec(40, 'tdn', test_short_side=256, **IMAGENET)
_BYTES = (1 / 255,) * 3  # A deviation with which pixels stay 0 to 255.
_CAFFE = {
  'mean': (104 / 255, 117 / 255, 128 / 255),
  'std': _BYTES,
  'channels': 'bgr',
}
_FLOW = {'mean': (128 / 255,) * 3, 'std': _BYTES, 'input': 'flow'}
_TEN_CROPS = {'num_crops': 10, 'test_short_side': 256}
_TSN = InputSpec(3, 'tsn_caffe', test_frames=25, **_TEN_CROPS)
_INCEPTION = {
  'sampling': 'i3d',
  'stride': 1,
  'mean': (0.5,) * 3,
  'std': (0.5,) * 3,  # [-1, 1].
}
# Nine frames, as the others, each a view.
_TWO_STREAM_NANO = dataclasses.replace(NANO, num_frames=1, num_clips=9, crop=64)
_TWO_STREAM = InputSpec(1, 'tsn_caffe', num_clips=25, **_TEN_CROPS)


_MODELS = {
  'slowfast_r50': ModelEntry(
    slowfast.SlowFast,
    slowfast.R50,
    dataclasses.replace(_SLOWFAST, num_frames=32),
  ),
  'slowfast_r101': ModelEntry(slowfast.SlowFast, slowfast.R101, _SLOWFAST),
  'slowfast_r101_nl': ModelEntry(
    slowfast.SlowFast, slowfast.R101_NL, _SLOWFAST
  ),
  'slowfast_nano': ModelEntry(
    slowfast.SlowFast, slowfast.NANO, dataclasses.replace(NANO, num_frames=16)
  ),
  'slowfast_test': ModelEntry(
    slowfast.SlowFast,
    slowfast.TEST,
    dataclasses.replace(_SLOWFAST, num_frames=4),
  ),
  'i3d_r50': ModelEntry(i3d.I3D, i3d.R50, _I3D),
  'i3d_r50_nl': ModelEntry(i3d.I3D, i3d.R50_NL, _I3D),
  'i3d_r101': ModelEntry(i3d.I3D, i3d.R101, _I3D),
  'i3d_r101_nl': ModelEntry(i3d.I3D, i3d.R101_NL, _I3D),
  'i3d_r101_nl_long': ModelEntry(i3d.I3D, i3d.R101_NL_LONG, _I3D_LONG),
  'i3d_r101_nl_long359': ModelEntry(i3d.I3D, i3d.R101_NL_LONG359, _I3D_LONG),
  'i3d_nano': ModelEntry(i3d.I3D, i3d.NANO, NANO),
  'i3d_nano_nl': ModelEntry(i3d.I3D, i3d.NANO_NL, NANO),
  'i3d_test': ModelEntry(
    i3d.I3D, i3d.TEST, dataclasses.replace(_I3D, num_frames=4)
  ),
  'bn_inception': ModelEntry(
    bn_inception.BNInception,
    bn_inception.BN_INCEPTION,
    InputSpec(**_CAFFE),
  ),
  'bn_inception_test': ModelEntry(bn_inception.BNInception, bn_inception.TEST),
  'tsn_r50': ModelEntry(
    tsn.TSNResNet,
    tsn.RESNET50,
    _SEGMENTS,
  ),
  'tsn_test': ModelEntry(
    tsn.TSNResNet, tsn.TEST, dataclasses.replace(_SEGMENTS, num_frames=3)
  ),
  'tsn_bninception': ModelEntry(
    tsn.TSNBNInception,
    tsn.BN_INCEPTION,
    dataclasses.replace(_TSN, **_CAFFE),
  ),
  'tsn_bninception_flow': ModelEntry(
    tsn.TSNBNInception,
    tsn.BN_INCEPTION_FLOW,
    dataclasses.replace(_TSN, flow_frames=5, **_FLOW),
  ),
  'tdn_r50': ModelEntry(tdn.TDN, tdn.R50, _TDN),
  'tdn_r101': ModelEntry(tdn.TDN, tdn.R101, _TDN),
  # Eight segments; frames of 33 px are the least.
  'tdn_nano': ModelEntry(
    tdn.TDN,
    tdn.NANO,
    dataclasses.replace(NANO, num_frames=40, sampling='tdn', crop=36),
  ),
  'tdn_test': ModelEntry(
    tdn.TDN, tdn.TEST, dataclasses.replace(_TDN, num_frames=10)
  ),
  'motion_squeeze_r50': ModelEntry(
    motion_squeeze.MotionSqueezeNet, motion_squeeze.R50, _SEGMENTS
  ),
  'motion_squeeze_nano': ModelEntry(
    motion_squeeze.MotionSqueezeNet, motion_squeeze.NANO, NANO
  ),
  'motion_squeeze_test': ModelEntry(
    motion_squeeze.MotionSqueezeNet,
    motion_squeeze.TEST,
    dataclasses.replace(_SEGMENTS, num_frames=4),
  ),
  'i3d_inception': ModelEntry(
    i3d_inception.I3DInception,
    i3d_inception.INCEPTION,
    InputSpec(64, test_frames=250, test_short_side=256, **_INCEPTION),
  ),
  'i3d_inception_test': ModelEntry(
    i3d_inception.I3DInception,
    i3d_inception.TEST,
    InputSpec(8, crop=64, **_INCEPTION),
  ),
  'two_stream_spatial': ModelEntry(
    two_stream.TwoStream,
    two_stream.SPATIAL,
    dataclasses.replace(
      _TWO_STREAM,
      mean=VGG_MEAN,
      std=_BYTES,
    ),
  ),
  'two_stream_temporal': ModelEntry(
    two_stream.TwoStream,
    two_stream.TEMPORAL,
    dataclasses.replace(_TWO_STREAM, flow_frames=10, **_FLOW),
  ),
  'two_stream_spatial_nano': ModelEntry(
    two_stream.TwoStream, two_stream.NANO, _TWO_STREAM_NANO
  ),
  'two_stream_temporal_nano': ModelEntry(
    two_stream.TwoStream,
    two_stream.NANO_TEMPORAL,
    dataclasses.replace(_TWO_STREAM_NANO, flow_frames=10, **_FLOW),
  ),
  'two_stream_test': ModelEntry(
    two_stream.TwoStream, two_stream.TEST, InputSpec(1, 'tsn_caffe', crop=64)
  ),
}
MODELS = {
  name: dataclasses.replace(entry, weights=WEIGHTS.get(name, {}))
  for name, entry in _MODELS.items()
}
