# SPDX-License-Identifier: Apache-2.0
"""Chooses the frames of a video that make a clip.

As in PySlowFast and UniFormer, *dense* sampling takes `num_frames` frames
`stride` apart from one part of the video; *segment* sampling cuts the whole
video into `num_frames` segments and takes one frame of each. Training draws at
random; a test view is a function of the video's length. Frames of a video that
is too short repeat.
"""

import numpy as np


def dense_train(
  length: int, num_frames: int, stride: int, rng: np.random.Generator
) -> np.ndarray:
  """Samples `num_frames * stride` frames with a random start. -> [T]."""
  slack = max(length - num_frames * stride, 0)
  return dense_indices(length, num_frames, stride, rng.uniform(0, slack))


def dense_test(
  length: int, num_frames: int, stride: int, num_views: int = 1
) -> np.ndarray:
  """Spreads `num_views` clips over the video; one is centred. -> [V T]."""
  slack = max(length - num_frames * stride, 0)
  starts = [slack // 2]
  if num_views > 1:
    # The step is rounded down: the last view may stop short of the end.
    starts = np.arange(num_views) * (slack // (num_views - 1))
  return np.stack(
    [dense_indices(length, num_frames, stride, start) for start in starts]
  )


def dense_indices(
  length: int, num_frames: int, stride: int, start: float
) -> np.ndarray:
  """Returns frames of a clip that begins at `start`, maybe a fraction. -> [T].

  Source: PySlowFast's temporal sampling, a truncated linspace(start,
  start + stride * T - 1, T). It includes the end, so frames are a little more
  than `stride` apart.
  """
  end = start + num_frames * stride - 1
  index = np.linspace(start, end, num_frames).astype(np.int64)
  return np.clip(index, 0, length - 1)


def segment_train(
  length: int, num_frames: int, rng: np.random.Generator
) -> np.ndarray:
  """Samples one random frame in each of `num_frames` segments. -> [T]."""
  low, high = segment_ranges(length, num_frames)
  return rng.integers(low, high, endpoint=True)


def segment_test(
  length: int, num_frames: int, num_views: int = 1
) -> np.ndarray:
  """Splits each segment into `num_views + 1` parts. -> [V T].

  Source: UniFormer's Something-Something test, start + int(segment /
  (views + 1) * (view + 1)); one view takes the middle of every segment.
  """
  low, _ = segment_ranges(length, num_frames)
  segment = (length - 1) / num_frames
  views = np.arange(1, num_views + 1)
  offset = (segment / (num_views + 1) * views).astype(np.int64)
  return low + offset[:, None]


def segment_ranges(
  length: int, num_frames: int
) -> tuple[np.ndarray, np.ndarray]:
  """Returns first and last frame of each segment, inclusive. -> [T], [T]."""
  # rint rounds halves to even, as Python's round in the reference does.
  edges = np.rint((length - 1) / num_frames * np.arange(num_frames + 1))
  edges = edges.astype(np.int64)
  return edges[:-1], edges[1:]


def train_clip(data, length: int, rng: np.random.Generator) -> np.ndarray:
  """Samples a training clip, as `config.data` describes. -> [T]."""
  if is_dense(data):
    index = dense_train(length, data['num_frames'], data['stride'], rng)
  else:
    index = segment_train(length, data['num_frames'], rng)
  return repeat_middle(index) if data['repeat_frame'] else index


def test_clips(data, length: int, num_clips: int) -> np.ndarray:
  """Samples every temporal test view. -> [V T]."""
  if is_dense(data):
    index = dense_test(length, data['num_frames'], data['stride'], num_clips)
  else:
    index = segment_test(length, data['num_frames'], num_clips)
  return repeat_middle(index) if data['repeat_frame'] else index


def repeat_middle(index: np.ndarray) -> np.ndarray:
  """Repeats the middle frame T times, for the control experiment."""
  middle = index[..., index.shape[-1] // 2, None]
  return np.broadcast_to(middle, index.shape).copy()


def is_dense(data) -> bool:
  """Returns whether `data.sampling` is dense, and refuses unknown methods."""
  name = data['sampling']
  if name not in ('dense', 'segment'):
    raise ValueError(
      f"data.sampling must be 'dense' (frames `stride` apart) or 'segment' "
      f'(the whole video), not {name!r}.'
    )
  return name == 'dense'
