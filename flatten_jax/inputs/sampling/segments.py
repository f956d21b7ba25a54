# SPDX-License-Identifier: Apache-2.0
"""Rules of temporal segment networks: places in equal parts of a video."""

import numpy as np

from flatten_jax.inputs.sampling.rule import Rule


class TSN(Rule):
  """TSN's in PyTorch, TSM's and MotionSqueeze's: a frame of each part."""

  strided = False
  crop_steps = 4
  floors_sides = True
  frames = 'the middle frame of each of num_frames equal parts of the video'

  def train(self, length, fps, rng):
    """Draws a frame of each part; a shorter video shows its first only."""
    return random_places(length, self.num_frames, 1, rng)

  def test(self, length, fps, clips):
    """Takes the middles of the parts; a second clip takes their beginnings.

    Clip i of V is i / V of a part further on, and starts again in each.
    """
    shares = (0.5 + np.arange(clips) / clips) % 1
    return np.stack([places(length, self.num_frames, s) for s in shares])


class TSNCaffe(TSN):
  """TSN's in Caffe: tests at whole distances from the first frame."""

  frames = 'num_frames frames at equal distances from the first'

  def test(self, length, fps, clips):
    """Spreads the frames of all clips, which take turns; one is a middle.

    The distance is rounded down, so that the last may come before the end.
    """
    count = clips * self.num_frames
    if count == 1:
      return super().test(length, fps, clips)
    index = np.arange(count) * ((length - 1) // (count - 1))
    return index.reshape(self.num_frames, clips).T


class Even(Rule):
  """Ours, for videos of any length: a frame of each of T equal parts.

  A shorter video shows all of its frames, each as often as the others or once
  more; one of T frames shows each once.
  """

  strided = False
  frames = 'the middle frame of each of num_frames equal parts of the video'

  def train(self, length, fps, rng):
    """Draws a place in each part; in a shorter video, one for all parts."""
    shares = rng.random(self.num_frames if length > self.num_frames else None)
    return self.at(length, shares)

  def test(self, length, fps, clips):
    """Takes the places at 1 / (V + 1), 2 / (V + 1), ... of each part."""
    shares = np.arange(1, clips + 1) / (clips + 1)
    return self.at(length, shares[:, None])

  def at(self, length: int, shares: np.ndarray | float) -> np.ndarray:
    """Returns the frames at a share of each part. -> [... T]."""
    parts = np.arange(self.num_frames)
    index = ((parts + shares) * length / self.num_frames).astype(np.int64)
    return np.minimum(index, length - 1)


class TDN(Rule):
  """TDN's: `run` consecutive frames of each part; the last may repeat."""

  run = 5
  strided = False
  crop_steps = 4
  floors_sides = True
  frames = '5 frames in the middle of each of num_frames / 5 equal parts'

  def train(self, length, fps, rng):
    """Draws a start in each part; a shorter video has one, its first frame."""
    starts = random_places(length, self.num_frames // self.run, self.run, rng)
    return self.runs(length, starts)

  def test(self, length, fps, clips):
    """Begins in the middles of the parts; several clips are drawn.

    Several clips are those of the official test of Kinetics, drawn as in
    training, here by the video's length. A video with no more places than parts
    shows its first frames.
    """
    if clips > 1:
      rng = np.random.default_rng(length)
      return np.stack([self.train(length, fps, rng) for _ in range(clips)])
    parts, last = self.num_frames // self.run, length - self.run
    starts = places(last + 1, parts) if last >= parts else np.zeros(parts)
    return self.runs(length, starts)[None]

  def runs(self, length: int, starts: np.ndarray) -> np.ndarray:
    """Returns the frames of the runs that begin at `starts` [N]. -> [N 5]."""
    index = starts.astype(np.int64)[:, None] + np.arange(self.run)
    return np.minimum(index, length - 1).ravel()


def places(count: int, parts: int, share: float = 0.5) -> np.ndarray:
  """Returns the place at a share of each of equal parts of `count`. [N]."""
  part = count / parts
  return (part * share + part * np.arange(parts)).astype(np.int64)


def random_places(
  length: int, parts: int, run: int, rng: np.random.Generator
) -> np.ndarray:
  """Draws the beginning of a run of frames in each part of a video. -> [N].

  If there are fewer places than parts, any are drawn, in order; if there are
  no more frames than parts, all are the first.
  """
  count = length - run + 1
  if part := max(count, 0) // parts:
    return np.arange(parts) * part + rng.integers(0, part, size=parts)
  if length > parts:
    return np.sort(rng.integers(0, max(count, 1), size=parts))
  return np.zeros(parts, np.int64)
