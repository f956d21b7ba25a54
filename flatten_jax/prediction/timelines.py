# SPDX-License-Identifier: Apache-2.0
"""Class by second: a model shown a long video a few seconds at a time."""

from collections.abc import Iterator, Mapping
import dataclasses
import itertools

import numpy as np

from flatten_jax.inputs import pipeline, timeline_windows
from flatten_jax.inputs.augment.transforms import test_frame_size
from flatten_jax.inputs.examples import to_example
from flatten_jax.inputs.flow import fields
from flatten_jax.inputs.sampling import rules
from flatten_jax.inputs.sources.dataset import Record
from flatten_jax.prediction import chosen_classes
from flatten_jax.prediction.chosen_classes import Thresholds
from flatten_jax.runtime.loaded_model import LoadedModel, ViewMeans

_FRAMES = 12  # Kept of a video, to be shown above its timeline.


@dataclasses.dataclass(frozen=True, repr=False)
class Timeline:
  """Class probabilities along a video.

  Attributes:
    seconds: start and end of each window, [N 2].
    probabilities: float32 [N K]; NaN for windows without finite scores, which
      have no answer.
    class_names: K names.
    frames: evenly spaced over the video, uint8 [M h w 3].
    window: in words, what a window shows: "windows of 4 s, 9 frames each".
    whole: the same for the answer to the whole video: "9 frames over 15.0 s".
    thresholds: as of `Prediction`.
  """

  seconds: np.ndarray
  probabilities: np.ndarray
  class_names: tuple[str, ...]
  frames: np.ndarray
  window: str = ''
  whole: str = ''
  thresholds: Thresholds = None

  @property
  def answer_mask(self) -> np.ndarray:
    """The mask of the answers to each window, bool [N K].

    One class of a window is an answer, or those from their thresholds on.
    """
    return chosen_classes.answer_mask(self.probabilities, self.thresholds)

  def answer(self) -> str:
    """Returns the class that is an answer for the most seconds; '' if none."""
    times = np.diff(self.seconds)[:, 0] @ self.answer_mask
    return self.class_names[times.argmax()] if times.any() else ''

  def labels(self, row: int) -> chosen_classes.TopClasses:
    """Returns the answers to a window, best first."""
    window = self.probabilities[row]
    return chosen_classes.answers(window, self.class_names, self.thresholds)

  def segments(self) -> list[tuple[float, float, str, float]]:
    """Returns runs of each answer: (start, end, class, mean probability).

    They are in the order of their starts. Runs of one label per window follow
    each other; those of several may overlap, and leave gaps.
    """
    found = []
    for number, shown in enumerate(self.answer_mask.T):
      edges = np.flatnonzero(np.diff(shown)) + 1
      for rows in np.split(np.arange(len(shown)), edges):
        if shown[rows[0]]:
          start, end = self.seconds[rows[0], 0], self.seconds[rows[-1], 1]
          share = self.probabilities[rows, number].mean()
          name = self.class_names[number]
          found.append((float(start), float(end), name, float(share)))
    return sorted(found, key=lambda segment: segment[0])

  def __str__(self) -> str:
    fine = bool((self.seconds[:, 0] % 1).any())
    lines = [
      f'  {clock(start, fine):>9} - {clock(end, fine):<9} {name}  {share:.0%}'
      for start, end, name, share in self.segments()
    ]
    return '\n'.join(lines) or '  no class'


def clock(seconds: float, fine: bool = False) -> str:
  """Formats a time as 1:02:03, or with tenths as 2:03.5."""
  tenths = round(seconds * 10) if fine else 10 * round(seconds)
  minutes, rest = divmod(tenths, 600)
  hours, minutes = divmod(minutes, 60)
  text = f'{rest // 10:02}' + (f'.{rest % 10}' if fine else '')
  return f'{hours}:{minutes:02}:{text}' if hours else f'{minutes}:{text}'


def of_video(
  model: LoadedModel, record: Record, every: float, window: float
) -> Timeline:
  """Classifies a window around the middle of every `every` seconds.

  Windows are `window` seconds long, 0 for the length of a training clip, see
  `inputs.timeline_windows`; the crops are those of the test views.

  Raises:
    VideoError: the video cannot be read this way.
  """
  crops = model.views.crops or 1
  views = dataclasses.replace(model.views, clips=1, crops=crops)
  data = views.apply(model.config.data)
  clips = timeline_windows.read_windows(
    record.path,
    data,
    every=every,
    seconds=window,
    size=test_frame_size(data),
  )
  seconds, frames = [], EvenlySpaced(_FRAMES)

  def examples() -> Iterator[pipeline.Batch]:
    for number, (part, clip) in enumerate(clips):
      seconds.append((part.start, part.end))
      frames.add(fields.picture(clip[len(clip) // 2]))
      positions = part.frames - part.frames[0]
      yield to_example(clip[None], positions[None], record, number)

  def batches() -> Iterator[pipeline.Batch]:
    """The last batch is padded by views of index -1."""
    size = model.config.eval_views * model.experiment.mesh.size
    views, blank = (
      pipeline.cut_views(examples(), data),
      pipeline.blank_view(data),
    )
    while rows := list(itertools.islice(views, size)):
      rows += [blank] * (size - len(rows))
      yield {key: np.stack([row[key] for row in rows]) for key in blank}

  means = ViewMeans(model.config.eval_average, crops, model.task)
  rows = []
  for _, result in model.run(batches()):
    rows += [means.pop(number) / crops for number in means.add(result)]
  return Timeline(
    np.array(seconds),
    chosen_classes.probabilities_of(model, np.stack(rows)),
    model.class_names,
    np.stack(frames.chosen()),
    *describe(data, model.views.clips or 1, window, seconds[-1][1]),
    thresholds=chosen_classes.thresholds_of(model),
  )


def describe(
  data: Mapping, clips: int, window: float, duration: float
) -> tuple[str, str]:
  """Returns in words what a window and what the test views of a video show."""
  rule, frames, stride = rules.of_data(data), data['num_frames'], data['stride']
  shown = min(duration, rule.seconds or duration)
  whole = f'{clips * frames} frames over {shown:.1f} s'
  length = f'{window or rule.seconds or timeline_windows.WHOLE_VIDEO:g} s'
  if rule.strided:
    rate = f' at {rule.rate:g} frames per second' if rule.rate else ''
    each = f'clip{"s" * (clips > 1)} of {frames} frames, {stride} apart{rate}'
    whole = f'{clips} {each}, in {duration:.1f} s'
    length = length if window else f'{frames * stride} frames{rate}'
  if frames == 1:
    whole = f'{clips} frame{"s" * (clips > 1)} of {duration:.1f} s'
    return 'one frame in the middle of each', whole
  return f'windows of {length}, {frames} frames each', whole


class EvenlySpaced:
  """Chooses `count` evenly spaced frames of a stream of unknown length."""

  def __init__(self, count: int):
    self._count, self._kept = count, []
    self._step, self._added = 1, 0

  def add(self, frame: np.ndarray) -> None:
    """Adds the next frame."""
    if self._added % self._step == 0:
      self._kept.append(frame.copy())  # A view would keep its whole clip.
    self._added += 1
    if len(self._kept) > 4 * self._count:
      self._kept, self._step = self._kept[::2], 2 * self._step

  def chosen(self) -> list[np.ndarray]:
    """Returns up to `count` frames, in order."""
    last = len(self._kept) - 1
    places = np.linspace(0, last, min(self._count, last + 1)).round()
    return [self._kept[i] for i in places.astype(int)]
