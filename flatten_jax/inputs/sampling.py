# SPDX-License-Identifier: Apache-2.0
"""Decides which frames of a video make a clip; plain arithmetic on indices.

Two families, both as in the code that the paper's baselines were trained with
(PySlowFast, UniFormer): *dense* sampling takes `num_frames` frames `stride`
apart from one stretch of the video; *segment* sampling cuts the whole video in
`num_frames` parts and takes one frame of each. Training draws at random, a test
view is a function of the video's length alone.

All indices are 0-based and lie inside the video: where it is too short, frames
repeat.
"""

import numpy as np


def dense_train(
  length: int, num_frames: int, stride: int, rng: np.random.Generator
) -> np.ndarray:
  """A stretch of `num_frames * stride` frames that starts anywhere. -> [T]."""
  slack = max(length - num_frames * stride, 0)
  return dense_indices(length, num_frames, stride, rng.uniform(0, slack))


def dense_test(
  length: int, num_frames: int, stride: int, num_views: int = 1
) -> np.ndarray:
  """`num_views` stretches spread over the video; one is centred. -> [V T]."""
  slack = max(length - num_frames * stride, 0)
  if num_views == 1:
    starts = [slack // 2]
  else:
    # The step is rounded down: the last view may stop short of the end.
    starts = np.arange(num_views) * (slack // (num_views - 1))
  return np.stack(
    [dense_indices(length, num_frames, stride, start) for start in starts]
  )


def dense_indices(
  length: int, num_frames: int, stride: int, start: float
) -> np.ndarray:
  """Frames of the stretch that begins at `start`, which may be fractional.

  Source: PySlowFast's temporal sampling, a truncated linspace(start,
  start + stride * T - 1, T). The last frame is that of the stretch, so the
  frames are a little more than `stride` apart. -> [T].
  """
  end = start + num_frames * stride - 1
  index = np.linspace(start, end, num_frames).astype(np.int64)
  return np.clip(index, 0, length - 1)


def segment_train(
  length: int, num_frames: int, rng: np.random.Generator
) -> np.ndarray:
  """One frame anywhere in each of `num_frames` segments. -> [T]."""
  low, high = segment_ranges(length, num_frames)
  return rng.integers(low, high, endpoint=True)


def segment_test(
  length: int, num_frames: int, num_views: int = 1
) -> np.ndarray:
  """The frames that split each segment in `num_views + 1` parts. -> [V T].

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
  """First and last frame of each segment, both included. -> [T], [T]."""
  # rint rounds halves to even, as Python's round in the reference does.
  edges = np.rint((length - 1) / num_frames * np.arange(num_frames + 1))
  edges = edges.astype(np.int64)
  return edges[:-1], edges[1:]


def train_clip(data, length: int, rng: np.random.Generator) -> np.ndarray:
  """The frames of a training clip, as `config.data` says. -> [T]."""
  if data['sampling'] == 'dense':
    index = dense_train(length, data['num_frames'], data['stride'], rng)
  elif data['sampling'] == 'segment':
    index = segment_train(length, data['num_frames'], rng)
  else:
    raise unknown_sampling(data['sampling'])
  return repeat_middle(index) if data['repeat_frame'] else index


def test_clips(data, length: int, num_clips: int) -> np.ndarray:
  """The frames of every temporal test view. -> [V T]."""
  if data['sampling'] == 'dense':
    index = dense_test(length, data['num_frames'], data['stride'], num_clips)
  elif data['sampling'] == 'segment':
    index = segment_test(length, data['num_frames'], num_clips)
  else:
    raise unknown_sampling(data['sampling'])
  return repeat_middle(index) if data['repeat_frame'] else index


def repeat_middle(index: np.ndarray) -> np.ndarray:
  """The control experiment: one frame, as often as there were frames."""
  middle = index[..., index.shape[-1] // 2, None]
  return np.broadcast_to(middle, index.shape).copy()


def unknown_sampling(name: str) -> ValueError:
  """What to raise for a sampling that does not exist."""
  return ValueError(
    f"data.sampling must be 'dense' (frames `stride` apart) or 'segment' "
    f'(the whole video), not {name!r}.'
  )
