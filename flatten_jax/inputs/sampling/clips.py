# SPDX-License-Identifier: Apache-2.0
"""Rules that take frames `stride` apart from one part of a video."""

import math

import numpy as np

from flatten_jax.inputs.sampling.rule import Rule


class Dense(Rule):
  """PySlowFast's and UniFormer's clips; a short video's last frame repeats."""

  def train(self, length, fps, rng):
    """Begins anywhere, also between two frames."""
    slack = max(length - self.span(fps), 0)
    return self.clip(length, rng.uniform(0, slack))

  def test(self, length, fps, clips):
    """Spreads the clips over the video; one is centred."""
    slack = max(length - self.num_frames * self.stride, 0)
    starts = [slack // 2]
    if clips > 1:
      # The step is rounded down: the last view may stop short of the end.
      starts = np.arange(clips) * (slack // (clips - 1))
    return np.stack([self.clip(length, start) for start in starts])

  def clip(self, length: int, start: float) -> np.ndarray:
    """Returns frames of a clip that begins at `start`, maybe a fraction. [T].

    Source: PySlowFast's temporal sampling, a truncated linspace(start,
    start + stride * T - 1, T). It includes the end, so frames are a little more
    than `stride` apart.
    """
    end = start + self.num_frames * self.stride - 1
    index = np.linspace(start, end, self.num_frames).astype(np.int64)
    return np.clip(index, 0, length - 1)


class MMAction2(Rule):
  """MMAction2's and Video Swin's clips; a short video starts again."""

  def train(self, length, fps, rng):
    """Begins at any frame of which the whole clip is in the video."""
    slack = max(length - self.num_frames * self.stride, 0)
    return looped_clips(self, length, rng.integers(slack, endpoint=True))

  def test(self, length, fps, clips):
    """Centres a clip in each of V equal parts of the possible starts."""
    slack = max(length - self.num_frames * self.stride + 1, 0)
    part = slack / clips
    starts = (np.arange(clips) * part + part / 2).astype(np.int64)
    return looped_clips(self, length, starts[:, None])


class NonLocal(MMAction2):
  """video-nonlocal-net's: a test clip may begin anywhere in the video."""

  crop_steps = 2
  floors_sides = True

  def test(self, length, fps, clips):
    """Begins clip i of V at the part i / V of the video."""
    # Rounds as the official code, which computes in float32.
    starts = np.float32(length / clips) * np.arange(clips, dtype=np.float32)
    return looped_clips(self, length, starts.astype(np.int64)[:, None])


class I3D(MMAction2):
  """I3D's of Inception: `stride` counts frames at 25 per second.

  A frame is the one that is shown at its time.
  """

  rate = 25.0

  def train(self, length, fps, rng):
    """Begins at any frame of which the whole clip is in the video."""
    step = (fps or self.rate) / self.rate
    index = super().train(math.ceil(length / step), fps, rng)
    return self.shown(index, step, length)

  def test(self, length, fps, clips):
    """Takes the middle, which is all of a video shorter than the clip."""
    step = (fps or self.rate) / self.rate
    index = super().test(math.ceil(length / step), fps, clips)
    return self.shown(index, step, length)

  def shown(self, index: np.ndarray, step: float, length: int) -> np.ndarray:
    """Returns the frames of the video that are shown at those of 25."""
    return np.minimum((index * step).astype(np.int64), length - 1)


class TimeSformer(Rule):
  """TimeSformer's clips of Kinetics: `stride` counts frames at 30 per second.

  They begin at whole frames: the decoder passes over those before the start.
  """

  rate = 30.0
  frames = (
    'num_frames frames from the first on, stride apart at 30 frames per second'
  )

  def train(self, length, fps, rng):
    """Begins anywhere; a short video's last frame repeats."""
    span = self.span(fps)
    start = rng.uniform(0, max(length - span, 0))
    return self.clip(length, start, span)

  def test(self, length, fps, clips):
    """Begins clip i of V at the part i / V of the possible starts."""
    span = self.span(fps)
    starts = np.arange(clips) * max(length - span, 0) / clips
    return np.stack([self.clip(length, start, span) for start in starts])

  def clip(self, length: int, start: float, span: float) -> np.ndarray:
    """Returns frames spread over `span` frames from the start on. -> [T]."""
    return decoded_clip(length, start, span, self.num_frames)


class PySlowFast(TimeSformer):
  """SlowFast's clips of Kinetics: as TimeSformer's, from between two frames."""

  floors_sides = True

  def clip(self, length: int, start: float, span: float) -> np.ndarray:
    """Returns the frames at equal distances, rounded down. -> [T]."""
    index = truncated_linspace(start + span - 1, self.num_frames, start)
    return np.minimum(index, length - 1)


class ViViT(Rule):
  """Scenic's and DMVR's clips; a short video starts again."""

  def train(self, length, fps, rng):
    """Begins at any frame of which all frames are in the video."""
    last = max(length - (self.num_frames - 1) * self.stride - 1, 0)
    return looped_clips(self, length, rng.integers(last, endpoint=True))

  def test(self, length, fps, clips):
    """Spreads the clips from the first to the last start; one is centred."""
    slack = max(length - self.num_frames * self.stride, 0)
    starts = np.linspace(0, slack, clips) if clips > 1 else [slack // 2]
    starts = np.asarray(starts).astype(np.int64)[:, None]
    return looped_clips(self, length, starts)


class TSNDense(ViViT):
  """TSM's and MotionSqueeze's of Kinetics: stride x T is 64."""

  crop_steps = 4
  floors_sides = True

  def train(self, length, fps, rng):
    """Begins at any frame but the last of which the whole clip is there."""
    slack = length - self.num_frames * self.stride
    return looped_clips(self, length, rng.integers(max(slack, 1)))


class VidTr(Rule):
  """gluonmm's clips of VidTr."""

  frames = 'num_frames frames from the first on, stride apart'

  def train(self, length, fps, rng):
    """Begins anywhere; steps are a little more than `stride`.

    A short video has length // stride frames; then its last one repeats.
    """
    span, count, start = self.num_frames * self.stride, self.num_frames, 0
    if length > span:
      start = rng.integers(length - span)
    else:
      span, count = length, length // self.stride
    index = start + np.linspace(0, span, count)
    index = np.append(index, [length] * (self.num_frames - count))
    return np.minimum(index, start + span - 1).astype(np.int64)

  def test(self, length, fps, clips):
    """Begins clip i of V at the part i / V of the possible starts.

    The last frame that a step reaches repeats.
    """
    slack = max(length - self.num_frames * self.stride + 1, 0)
    starts = (np.arange(clips) * slack / clips).astype(np.int64)[:, None]
    steps = np.minimum(
      np.arange(self.num_frames), (length - 1 - starts) // self.stride
    )
    return starts + steps * self.stride


def looped_clips(rule: Rule, length: int, starts: np.ndarray) -> np.ndarray:
  """Returns frames `stride` apart; after the last comes the first. [... T]."""
  return (starts + np.arange(rule.num_frames) * rule.stride) % length


def decoded_clip(
  length: int, start: float, span: float, num_frames: int
) -> np.ndarray:
  """Returns frames spread over the part that PySlowFast decodes. -> [T].

  The part has `span` frames, and its first is the first one after `start`.
  """
  index = np.ceil(start) + truncated_linspace(span - 1, num_frames)
  return np.minimum(index, length - 1).astype(np.int64)


def truncated_linspace(end: float, count: int, start: float = 0) -> np.ndarray:
  """Returns whole numbers from start to end, as torch.linspace(...).long().

  It computes in float32, the second half from the end: where a value is a whole
  number, rounding makes the one below of some.
  """
  places = np.arange(count, dtype=np.float32)
  start, end = np.float32(start), np.float32(end)
  step = (end - start) / np.float32(max(count - 1, 1))
  values = np.where(
    places < max(count // 2, 1),
    start + step * places,
    end - step * places[::-1],
  )
  return np.maximum(values, 0).astype(np.int64)
