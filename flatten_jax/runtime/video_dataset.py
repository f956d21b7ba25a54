# SPDX-License-Identifier: Apache-2.0
"""Videos as a data source for Grain and any training loop: `fj.VideoDataset`.

Imports neither jax nor Grain: processes that only decode start fast.
"""

from collections.abc import Sequence
import logging
import operator
import os
from typing import Any

import cv2
import numpy as np

from flatten_jax.inputs import parts
from flatten_jax.inputs.augment import transforms
from flatten_jax.inputs.examples import RandomClips
from flatten_jax.inputs.sampling import rules
from flatten_jax.inputs.sources.dataset import Record
from flatten_jax.inputs.video.interface import Size

log = logging.getLogger('flatten_jax')

Path = str | os.PathLike
Element = dict[str, Any]


class VideoDataset:
  """Labelled videos as clips of exact frames: a data source for Grain.

      videos = fj.VideoDataset('/videos', split='train', size=112)
      batches = (
        grain.MapDataset.range(len(videos)).seed(0).shuffle().repeat(20)
        .random_map(videos.random_clip)
        .to_iter_dataset().batch(8)
      )

  `videos[i]` is a fixed clip, for evaluation, and needs no more than
  `grain.MapDataset.source(videos)`. `random_clip` is for training. Both return
  {'clip': uint8 [T s s 3] RGB, 'label': int32, 'id': the path within the data
  set, 'times': float64 [T], the seconds at which the frames are shown, from the
  file's first one on; NaN if the file does not tell}. An unknown label is -1.
  With `multi_label=True` labels are int8 [K], 1 for each class of the video.

  The same arguments give the same clips, bit for bit, in any thread or process,
  so a Grain iterator resumes exactly. Copies in worker processes open files of
  their own.

  Args:
    root: a folder of class folders, of splits of those, or with lists of the
      splits; a list in any published form; a set that `python -m data.prepare`
      has made; or a sequence of video files, which have no labels.
    split: 'train', 'val' or 'test', as the data set has them or as they are
      drawn; 'all' for all of them. A sequence of files has none.
    num_frames: T, frames of a clip.
    sampling: rule that chooses them: 'dense', `stride` apart; 'even', spread
      over the video; or a system's, see docs/evaluation.md.
    stride: frames of the video from one frame of a dense clip to the next.
    size: s, height and width of the frames, in pixels.
    **options: other keys of `config.data` by their names: where videos are and
      how they are split (`train`, `test`, `prefix`, `fold`, `holdout`,
      `val_holdout`, `motion_clips`, ...), random crops, flips and colors
      (`crop_area`, `flip`, `color_jitter`, `randaugment`, ...), and reading
      (`short_side`, `time_limit`, `frame_cache_gib`, ...), see
      flatten_jax/runtime/configuration/default_config.py.

  Attributes:
    records: id, path, label, and part in seconds of each video.
    class_names: by label; () for a sequence of files.

  Raises:
    FileNotFoundError: there is no such folder, list or file.
    ValueError: the data set has no such split, or an argument is wrong.
  """

  def __init__(
    self,
    root: Path | Sequence[Path] = '',
    split: str = 'train',
    *,
    num_frames: int = 16,
    sampling: str = 'dense',
    stride: int = 4,
    size: int = 224,
    **options: Any,
  ):
    from flatten_jax.runtime import dataset_arguments  # It needs jax.

    clips = {
      'num_frames': num_frames,
      'sampling': sampling,
      'stride': stride,
      'size': size,
    }
    videos, self._data = dataset_arguments.resolve(root, split, clips, options)
    self.records, self.class_names = videos.records, videos.class_names
    self._clips = RandomClips(videos, self._data, timed=True)
    self._named: set[str] = set()  # Files that could not be read.
    self._repr = dataset_arguments.described(root, split, clips | options)
    cv2.setNumThreads(1)  # Clips are made in parallel already.

  def __setstate__(self, state: dict[str, Any]) -> None:
    vars(self).update(state)
    cv2.setNumThreads(1)

  @property
  def num_classes(self) -> int:
    """Number of classes of the data set, whether in this split or not."""
    return len(self.class_names)

  def __len__(self) -> int:
    return len(self.records)

  def __repr__(self) -> str:  # Grain's DataLoader compares it on resume.
    return f'VideoDataset({self._repr})'

  def __getitem__(self, index: int) -> Element:
    """Returns the centre of the middle of a video, see the class.

    Raises:
      VideoError: the video cannot be read.
      IndexError: there is no such video.
    """
    record = self.records[operator.index(index)]
    frames, times = self._read(
      record,
      transforms.test_frame_size(self._data),
      lambda part: rules.test_clips(self._data, part).ravel(),
    )
    steps = rules.of_data(self._data).crop_steps
    (clip,) = transforms.test_crops(frames, self._data['crop'], 1, steps)
    return self._element(record, np.ascontiguousarray(clip), times)

  def random_clip(self, index: int, rng: np.random.Generator) -> Element:
    """Returns a random clip of a video for training, see the class.

    In its place, a video that cannot be read has a clip of another, with that
    one's id and label, and is named in a warning.

    Args:
      index: of the video.
      rng: all randomness of the clip, as `random_map` of Grain gives it.

    Raises:
      RuntimeError: no video can be read.
      IndexError: there is no such video.
    """
    clip = self._clips(range(len(self))[index], rng)
    if clip.error and clip.error.file not in self._named:
      self._named.add(clip.error.file)
      log.warning('%s; training takes other videos in its place', clip.error)
    return self._element(
      clip.record, np.ascontiguousarray(clip.frames), clip.places
    )

  def frames(
    self,
    index: int,
    start: int | None = None,
    stop: int | None = None,
    step: int | None = None,
  ) -> Element:
    """Returns frames of a video, whole and in order, for any task.

    Args:
      index: of the video.
      start: first frame, counted from 0 in the video or its part.
      stop: frame after the last one; None for the end. As in a slice, negative
        numbers count from the end.
      step: from one frame to the next.

    Returns:
      As the class says, with 'frames', uint8 [T H W 3], for 'clip'. Their
      shorter side is `short_side`, by default the video's own.

    Raises:
      VideoError: the video cannot be read.
      ValueError: there are no such frames.
      IndexError: there is no such video.
    """
    wanted = slice(start, stop, step)
    record = self.records[operator.index(index)]

    def sample(part: parts.Part) -> np.ndarray:
      if not (numbers := range(part.length)[wanted]):
        raise ValueError(
          f'{record.id} has {part.length} frames, none of them in start={start}'
          f', stop={stop}, step={step}.'
        )
      return np.array(numbers)

    size = transforms.frame_size(self._data, self._data['short_side'])
    frames, times = self._read(record, size, sample)
    element = self._element(record, frames, times)
    return {'frames': element.pop('clip')} | element

  def times(self, index: int) -> np.ndarray:
    """Returns when the frames of a video are shown. -> float64 [N].

    In seconds from the file's first frame on, exact where frame rates vary; NaN
    if the file does not tell. Decodes nothing, of most files.

    Raises:
      VideoError: the video cannot be read.
      IndexError: there is no such video.
    """
    return parts.read_part(
      self._clips.reader,
      self.records[operator.index(index)],
      None,
      lambda part: part.seconds(np.arange(part.length)),
    )

  def _read(
    self, record: Record, size: Size, sample: parts.Sample
  ) -> tuple[np.ndarray, np.ndarray]:
    return parts.read_clip(self._clips.reader, record, size, sample, timed=True)

  def _element(
    self, record: Record, clip: np.ndarray, times: np.ndarray
  ) -> Element:
    label = self._clips.videos.target(record)
    return {'clip': clip, 'label': label, 'id': record.id, 'times': times}
