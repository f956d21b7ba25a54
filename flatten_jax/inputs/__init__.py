# SPDX-License-Identifier: Apache-2.0
"""Videos in, batches of uint8 clips out; numpy, Grain and PyAV, never jax."""

from flatten_jax.inputs.decoding import VideoError, VideoInfo, probe, read_clip
from flatten_jax.inputs.pipeline import eval_batches, train_batches
from flatten_jax.inputs.sources import Record, Videos, open_splits

__all__ = [
  'Record',
  'VideoError',
  'VideoInfo',
  'Videos',
  'eval_batches',
  'open_splits',
  'probe',
  'read_clip',
  'train_batches',
]
