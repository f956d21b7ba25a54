# SPDX-License-Identifier: Apache-2.0
"""Which class when: a model shown a long video a few seconds at a time."""

import collections
from collections.abc import Iterator
import dataclasses
import itertools

import numpy as np

from flatten_jax.inputs import pipeline, timeline_windows
from flatten_jax.inputs.examples import to_example
from flatten_jax.inputs.sources.dataset import Record
from flatten_jax.prediction.classifier import Classifier, softmax

FRAMES = 12  # Kept of a video, to be shown above its timeline.


@dataclasses.dataclass(frozen=True, repr=False)
class Timeline:
  """Probabilities of every class along a video.

  Attributes:
    seconds: from when to when, [N 2].
    probabilities: float32 [N K].
    class_names: K names.
    frames: a few, evenly from all of the video, uint8 [M h w 3].
  """

  seconds: np.ndarray
  probabilities: np.ndarray
  class_names: tuple[str, ...]
  frames: np.ndarray

  def segments(self) -> list[tuple[float, float, str, float]]:
    """Stretches of one answer: (start, end, class, mean probability)."""
    answers = self.probabilities.argmax(-1)
    edges = np.flatnonzero(np.diff(answers)) + 1
    return [
      (
        float(self.seconds[rows[0], 0]),
        float(self.seconds[rows[-1], 1]),
        self.class_names[answers[rows[0]]],
        float(self.probabilities[rows, answers[rows[0]]].mean()),
      )
      for rows in np.split(np.arange(len(answers)), edges)
    ]

  def __str__(self) -> str:
    fine = bool((self.seconds[:, 0] % 1).any())
    return '\n'.join(
      f'  {clock(start, fine):>9} - {clock(end, fine):<9} {name}  {share:.0%}'
      for start, end, name, share in self.segments()
    )


def clock(seconds: float, fine: bool = False) -> str:
  """1:02:03, or 2:03.5 where tenths are asked for."""
  tenths = round(seconds * 10) if fine else 10 * round(seconds)
  minutes, rest = divmod(tenths, 600)
  hours, minutes = divmod(minutes, 60)
  text = f'{rest // 10:02}' + (f'.{rest % 10}' if fine else '')
  return f'{hours}:{minutes:02}:{text}' if hours else f'{minutes}:{text}'


def of_video(
  classifier: Classifier, record: Record, every: float, window: float
) -> Timeline:
  """Classifies a window around the middle of every `every` seconds.

  Args:
    classifier: the crops of its views are taken of every window.
    record: the video.
    every: seconds from one row to the next.
    window: seconds that the model sees for each; 0: see `windows`.

  Raises:
    VideoError: the video cannot be read this way.
  """
  crops = classifier.views.crops or 1
  data = classifier.data | {'num_clips': 1, 'num_crops': crops}
  clips = timeline_windows.read_windows(
    record.path, data, every=every, seconds=window, short_side=data['crop']
  )
  seconds, frames = [], Thinned(FRAMES)

  def elements() -> Iterator[pipeline.Batch]:
    for number, (part, clip) in enumerate(clips):
      seconds.append((part.start, part.end))
      frames.add(clip[len(clip) // 2])
      yield to_example(clip[None], record, number)

  views = pipeline.cut_views(elements(), data)
  size = classifier.group * classifier.devices
  sums = collections.defaultdict(float)
  for batch, logits in classifier.run(in_batches(views, size, data)):
    for number, row in zip(batch['index'].tolist(), logits, strict=True):
      sums[number] += row / crops
  return Timeline(
    np.array(seconds),
    softmax(np.stack([sums[number] for number in range(len(seconds))])),
    classifier.class_names,
    np.stack(frames.chosen()),
  )


def in_batches(
  views: Iterator[pipeline.Batch], size: int, data: dict
) -> Iterator[pipeline.Batch]:
  """So many views in each; what is blank has index -1."""
  blank = pipeline.blank_view(data)
  while rows := list(itertools.islice(views, size)):
    rows += [blank] * (size - len(rows))
    yield {key: np.stack([row[key] for row in rows]) for key in blank}


class Thinned:
  """Some frames of a stream of unknown length, evenly; few at any time."""

  def __init__(self, count: int):
    self._count = count
    self._kept: list[np.ndarray] = []
    self._step = 1  # Every so many are kept.
    self._seen = 0

  def add(self, frame: np.ndarray) -> None:
    """The next one."""
    if self._seen % self._step == 0:
      self._kept.append(frame.copy())  # Or its whole clip would be kept.
    self._seen += 1
    if len(self._kept) > 4 * self._count:
      self._kept, self._step = self._kept[::2], 2 * self._step

  def chosen(self) -> list[np.ndarray]:
    """No more than `count`, in order."""
    last = len(self._kept) - 1
    places = np.linspace(0, last, min(self._count, last + 1)).round()
    return [self._kept[i] for i in places.astype(int)]
