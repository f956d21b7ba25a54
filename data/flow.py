# SPDX-License-Identifier: Apache-2.0
"""Computes the optical flow of a prepared set, once, and stores it there.

See `flatten_jax.inputs.flow.prepared_flow` for the form. A file appears when it
is complete, so that an interrupted computation is resumed.
"""

from collections.abc import Callable, Iterable, Sequence
import dataclasses
from fractions import Fraction
import io
import json
import os
import pathlib

import av
import cv2
import numpy as np

from data import builder
from data.media import LoadedVideo
from flatten_jax.inputs import workers
from flatten_jax.inputs.flow import methods
from flatten_jax.inputs.flow.flow_video import ComputedFields
from flatten_jax.inputs.flow.prepared_flow import (
  FOLDER,
  SETTINGS,
  UNREADABLE,
  FlowSettings,
)
from flatten_jax.inputs.sources import prepared
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.interface import Size
from flatten_jax.inputs.video.read import FrameCountCorrected, Video
from flatten_jax.paths import write_text
from flatten_jax.progress import Progress

_FPS = 25  # Of no use, but a stream needs one.
# Compresses best of FFmpeg's lossless codecs; every frame is a keyframe.
_ENCODER = {'g': '1', 'level': '3', 'slices': '4', 'coder': 'range_def'}
# A file has a share of its split, so that all cores have work, and that the
# files of the largest sets are not too many.
_SHARE, _LEAST, _MOST = 512, 4, 128


@dataclasses.dataclass(frozen=True)
class Flow:
  """The request of `--flow`: a method, and the size of frames in pixels."""

  method: str
  size: int | tuple[int, int] = 256

  def __post_init__(self):
    if self.method not in methods.METHODS:
      raise ValueError(
        f'--flow is {" or ".join(methods.METHODS)}, not {self.method!r}.'
      )
    sides = (self.size,) if isinstance(self.size, int) else self.size
    if len(sides) > 2 or min(sides) < 16:
      raise ValueError(
        '--flow_size is a shorter side, or HEIGHTxWIDTH like 256x340, of 16 px '
        f'or more; got {"x".join(map(str, sides))}.'
      )

  @classmethod
  def parse(cls, method: str, size: str) -> 'Flow':
    """Reads what `--flow` and `--flow_size` say."""
    try:
      sides = tuple(map(int, size.lower().split('x')))
    except ValueError:
      raise ValueError(
        f'--flow_size is 256 or 256x340 or the like, not {size!r}.'
      ) from None
    return cls(method, sides if len(sides) > 1 else sides[0])

  def settings(self, out: str | os.PathLike) -> FlowSettings:
    """Plans the files for a prepared set."""
    info = prepared.open_builder(os.fspath(out)).info
    records = {name: split.num_examples for name, split in info.splits.items()}
    each = {
      name: min(max(number // _SHARE, _LEAST), _MOST)
      for name, number in records.items()
    }
    size = self.size if isinstance(self.size, int) else list(self.size)
    return FlowSettings(self.method, size, records, each)


def make_all(
  out: str | os.PathLike,
  flow: Flow,
  processes: int,
  beam: Sequence[str] | None = None,
  progress: bool = True,
) -> str:
  """Computes the flow of all videos that have none yet.

  Args:
    out: a prepared set.
    flow: what to compute.
    processes: number of parallel processes.
    beam: arguments of Apache Beam, which then replaces the processes.
    progress: shows a bar.

  Returns:
    A line for the report.

  Raises:
    FileExistsError: the set has other flow.
    RuntimeError: the method needs a package that is not there.
  """
  methods.METHODS[flow.method]()
  settings, folder = flow.settings(out), pathlib.Path(out) / FOLDER
  found = FlowSettings.load(out)
  if found not in (None, settings):
    raise FileExistsError(
      f'{out} has {found}, not {settings.method!r} at {settings.size} px. Name '
      f'a new folder, or delete {folder}.'
    )
  folder.mkdir(exist_ok=True)
  text = json.dumps(dataclasses.asdict(settings), indent=1)
  write_text(folder / SETTINGS, text + '\n')
  jobs = [
    (path, os.fspath(out), split, numbers, flow.method, flow.size)
    for path, (split, numbers) in settings.files(out).items()
    if not os.path.isfile(path)
  ]
  if beam is None:
    in_processes(jobs, processes, progress)
  else:
    from data import beam_pipeline  # Beam need not be installed.

    beam_pipeline.run(make_file, jobs, beam)
  for leftover in folder.glob('.*.partial'):  # Of runs that were killed.
    leftover.unlink()
  size = sum(path.stat().st_size for path in folder.iterdir())
  whole = isinstance(flow.size, tuple)
  shape = '"({}, {})"'.format(*flow.size) if whole else flow.size
  return (
    f'Of {sum(settings.records.values())} videos, {settings}: '
    f'{size / 2**20:.1f} MiB. For flow, add --config.data.input=flow '
    f'--config.data.flow_method={flow.method} '
    f'--config.data.{"resize" if whole else "short_side"}={shape}\n'
  )


def in_processes(jobs: list[tuple], processes: int, progress: bool) -> None:
  """Runs `make_file` in processes; the first error of any ends all."""
  total = sum(len(numbers) for _, _, _, numbers, *_ in jobs)
  with Progress('Flow', 'videos', total=total, disable=not progress) as bar:
    if min(processes, len(jobs)) < 2:
      for job in jobs:
        make_file(*job, bar.update)
      return
    for count in workers.share(make_file, jobs, processes):
      bar.update(count)


def make_file(
  path: str,
  out: str,
  split: str,
  numbers: range,
  method: str,
  size: Size,
  tick: Callable[[], object] = lambda: None,
) -> int:
  """Computes the flow of some records; returns how many.

  The file appears when it is complete. `tick` is called after each video.
  """
  cv2.setNumThreads(1)  # Files are made in parallel already.
  source = prepared.open_source(out, split, os.getpid())
  with builder.writing(path) as writer:
    for number in numbers:
      record = source[number]
      video = LoadedVideo(os.fsdecode(record['file']), record['video'])
      try:
        writer.write(encode_flow(video, method, size))
      except VideoError as error:
        writer.write(UNREADABLE + error.cause.encode())
      tick()
  return len(numbers)


def encode_flow(video: LoadedVideo, method: str, size: Size) -> bytes:
  """Returns the flow of a video as a lossless video.

  Raises:
    VideoError: the video cannot be read.
  """
  with Video(video, size) as opened:
    fields = ComputedFields(str(video), opened, method)
    try:
      return encode(image for _, image in fields.decode(()))
    except FrameCountCorrected:  # A damaged file: the flow of what it has.
      return encode(image for _, image in fields.decode(()))


def encode(fields: Iterable[np.ndarray]) -> bytes:
  """Encodes fields, uint8 [H W 2], as frames [2H W], x above y."""
  target, stream = io.BytesIO(), None
  exact = {'fflags': '+bitexact'}  # Without a random number.
  with av.open(
    target, 'w', format='matroska', container_options=exact
  ) as output:
    for number, field in enumerate(fields):
      image = np.concatenate([field[..., 0], field[..., 1]])
      if stream is None:
        stream = output.add_stream('ffv1', rate=_FPS, options=_ENCODER)
        stream.height, stream.width = image.shape
        stream.pix_fmt = 'gray'
        stream.codec_context.thread_count = 1
      frame = av.VideoFrame.from_ndarray(image, 'gray')
      frame.pts, frame.time_base = number, Fraction(1, _FPS)
      output.mux(stream.encode(frame))
    output.mux(stream.encode())
  return target.getvalue()
