# SPDX-License-Identifier: Apache-2.0
"""A video whose frames are stacks of optical flow, perhaps after RGB."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import functools
import itertools

import cv2
import numpy as np

from flatten_jax.inputs.flow import fields, methods
from flatten_jax.inputs.video.container import VideoError, VideoPath, describe
from flatten_jax.inputs.video.interface import OpenVideo, Size, scaled_shape

_AT_ONCE = 16  # Frames of a long video that are read together.


@dataclasses.dataclass(frozen=True)
class FlowOptions:
  """Settings of flow in `config.data`."""

  method: str
  count: int  # L, fields of a frame
  with_rgb: bool

  @classmethod
  def of(cls, data: Mapping) -> 'FlowOptions | None':
    """Reads `config.data`; None for frames in RGB alone."""
    kind = data.get('input', 'rgb')
    if 'flow' not in kind:
      return None
    count = fields.fields_of_frame(data)
    return cls(data['flow_method'], count, kind == 'rgb+flow')


class ComputedFields(OpenVideo):
  """The flow of an open video, computed while reading. uint8 [H W 2].

  Field t is the motion from frame t to frame t + 1. A video of one frame has
  one field, without motion.
  """

  fps, times = 0.0, None

  def __init__(self, path: VideoPath, video: OpenVideo, method: str):
    super().__init__(path)
    self._video = video
    self._flow = methods.METHODS[method]()

  @property
  def num_frames(self) -> int:
    """Number of fields."""
    return max(self._video.num_frames - 1, 1)

  @property
  def depends_on_clip(self) -> bool:
    """See `OpenVideo`."""
    return self._video.depends_on_clip

  def _read(self, numbers: np.ndarray) -> np.ndarray:
    wanted = np.unique(numbers)
    frames = np.union1d(wanted, wanted + 1)
    frames = frames[frames < self._video.num_frames]
    images = zip(frames.tolist(), self._video.read(frames), strict=True)
    found = dict(self._compute(images))
    return np.stack([found[number] for number in numbers.tolist()])

  def decode(self, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yields all fields, one after the other, whatever is `wanted`."""
    del wanted
    return self._compute(
      self._video.decode(list(range(self._video.num_frames)))
    )

  def _compute(self, images) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the field of each frame whose next one follows."""
    last, before = -2, None
    for number, image in images:
      grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
      if self._video.num_frames == 1:
        yield 0, np.full((*grey.shape, 2), fields.ZERO, np.uint8)
      if number == last + 1:
        try:
          flow = self._flow(before, grey)
        except cv2.error as error:
          cause = f'no optical flow of {grey.shape[1]} x {grey.shape[0]} px'
          cause = f'{cause}: {describe(error)}'
          raise VideoError(str(self._path), cause) from error
        yield last, fields.to_bytes(flow)
      last, before = number, grey


class FlowVideo(OpenVideo):
  """A video whose frames are stacks of flow. uint8 [H W 2 L] or [H W 3 + 2 L].

  Frame t has the fields t to t + L - 1, x and y of each, after RGB of frame t
  if that is wanted. The last field repeats.

  Args:
    path: of the video.
    size: of the frames.
    options: how many fields, and whether RGB comes first.
    open_video: opens the video.
    open_fields: opens its fields, given what opens the video; of another size,
      they are resized.
  """

  def __init__(
    self,
    path: VideoPath,
    size: Size,
    options: 'FlowOptions',
    open_video: Callable[[], OpenVideo],
    open_fields: Callable[[Callable[[], OpenVideo]], OpenVideo],
  ):
    super().__init__(path, size)
    self._open = open_video
    self._count, self._with_rgb = options.count, options.with_rgb
    try:
      self._fields = open_fields(lambda: self._video)
    except BaseException:
      self.close()
      raise

  @functools.cached_property
  def _video(self) -> OpenVideo:
    """Opened when first used, since prepared flow is read without it."""
    return self._open()

  @property
  def num_frames(self) -> int:
    """Number of frames of the video."""
    if self._with_rgb:
      return self._video.num_frames
    return self._fields.num_frames + 1

  @property
  def fps(self) -> float:
    """See `OpenVideo`."""
    return self._video.fps

  @property
  def times(self) -> np.ndarray | None:
    """See `OpenVideo`."""
    times = self._video.times
    # Prepared flow of a damaged video ends before what its file claims.
    return None if times is None else times[: self.num_frames + 1]

  def _read(self, frames: np.ndarray) -> np.ndarray:
    stack = frames[:, None] + np.arange(self._count)
    last = self._fields.num_frames - 1
    flow = self._fields.read(np.minimum(stack, last).ravel())
    rgb, shape = None, flow.shape[1:3]
    if self._with_rgb:
      rgb = self._video.read(frames)
      shape = rgb.shape[1:3]
    elif self._size != min(shape):
      shape = scaled_shape(shape, self._size)
    flow = np.stack([fields.resize(field, shape) for field in flow])
    flow = flow.reshape(*stack.shape, *shape, 2)  # [T L H W 2]
    flow = np.moveaxis(flow, 1, 3).reshape(-1, *shape, 2 * self._count)
    return flow if rgb is None else np.concatenate([rgb, flow], axis=-1)

  def decode(self, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yields frames and their numbers, see `OpenVideo`."""
    wanted = iter(wanted)
    while some := list(itertools.islice(wanted, _AT_ONCE)):
      yield from zip(some, self._read(np.asarray(some)), strict=True)

  def close(self) -> None:
    """Frees the decoders."""
    for video in (vars(self).get('_fields'), vars(self).get('_video')):
      if video is not None:
        video.close()
