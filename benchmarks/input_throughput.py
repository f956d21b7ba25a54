# SPDX-License-Identifier: Apache-2.0
"""Compares clips per second and core to PyAV, OpenCV, decord and torchcodec.

  python -m benchmarks.input_throughput FOLDER --out=benchmarks/results
  python -m benchmarks.input_throughput FOLDER --files A.mp4 --gops 12 30 250

Every reader makes the same clips of the same files: `--frames` frames,
`--stride` apart, beginning at the same random frames, RGB, short side `--size`.
Readers take turns, so that a busy machine slows all of them, and CPU time is
counted, with all their threads. Other readers get the frame numbers; ours also
finds out the length of the video, which sampling needs; `indexed` is ours after
`--mode=index`. `decoding` is the same decoder without anything else: it decodes
from the keyframe before the clip to its end, and converts no frame.
decord and torchcodec are left out if they are not installed.

With --gops, each file is encoded by H.264 with a keyframe every so many frames,
at its size, as often as it takes for 1000 frames; KiB are those of the table of
its frames.
"""

import argparse
import collections
from collections.abc import Iterator
import fractions
from importlib import metadata
import os
import pathlib
import pickle
import statistics
import tempfile
import time
from unittest import mock

# Read by OpenCV when it opens a video.
os.environ.setdefault('OPENCV_FFMPEG_CAPTURE_OPTIONS', 'threads;1')

import av
import cv2
import numpy as np

from benchmarks import measure
from flatten_jax.inputs import pipeline, training_order
from flatten_jax.inputs.sampling import rules
from flatten_jax.inputs.sources import dataset
from flatten_jax.inputs.video import read
from flatten_jax.inputs.video.keyframes import FrameTable
from flatten_jax.runtime.configuration import config as configs

try:
  import decord
except ImportError:
  decord = None
try:
  from torchcodec import decoders as torchcodec
except (ImportError, RuntimeError):  # Without FFmpeg's libraries.
  torchcodec = None

FILES = (  # Of the real clips: formats of this field's data sets.
  'chaplin.mp4',
  'decord_flipping_a_pancake.mkv',
  'hevc_foreman-hevc-384.mp4',
  'hmdb51_cartwheel.avi',
  'hmdb51_KOREAN_TEA_CEREMONY_pour_u_nm_np1_fr_med_0.avi',
  'mmaction2_demo.mp4',
  'phone_with-gps_rot.mov',
  'stgcn_clean_and_jerk.mp4',
  'ucf101_v_ApplyEyeMakeup_g01_c01.avi',
  'ucf101_v_BaseballPitch_g01_c01.avi',
  'vp9_no_duration.webm',
)


def ours(path: str, index: np.ndarray, size: int) -> np.ndarray:
  """Opens a video, finds out its length and decodes frames."""
  with read.Video(path, size) as video:
    return video.read(index)


class Indexed:
  """Reads as a run with an index does, which knows the table of frames."""

  def __init__(self, path: str):
    self.table = table_of(path)

  def __call__(self, path: str, index: np.ndarray, size: int) -> np.ndarray:
    with read.Video(path, size, table=self.table) as video:
      return video.read(index)


def frames_from(path: str, first: int) -> Iterator[tuple[int, av.VideoFrame]]:
  """Seeks to a frame and decodes on, by one thread; yields frames by number."""
  with av.open(path) as container:
    stream = container.streams.video[0]
    stream.thread_type = 'NONE'
    stream.codec_context.thread_count = 1
    rate, base = stream.average_rate, stream.time_base
    origin = stream.start_time or 0
    container.seek(origin + int(first / rate / base), stream=stream)
    for frame in container.decode(stream):
      yield round((frame.pts - origin) * base * rate), frame


def bare_pyav(path: str, index: np.ndarray, size: int) -> np.ndarray:
  """Seeks, decodes on and converts wanted frames, as a first attempt does."""
  frames, wanted = {}, set(index.tolist())
  reformatter = av.video.reformatter.VideoReformatter()
  for number, frame in frames_from(path, int(index[0])):
    if number in wanted:
      width, height = scaled(frame.width, frame.height, size)
      picture = reformatter.reformat(frame, width, height, 'rgb24', threads=1)
      frames[number] = picture.to_ndarray()
    if number >= index[-1]:
      break
  # If the frame rate varies, this finds fewer frames; only time counts here.
  return np.stack(list(frames.values()))


def decoding(path: str, index: np.ndarray, size: int) -> None:
  """Decodes the frames from the keyframe before a clip to its end."""
  del size
  for number, _ in frames_from(path, int(index[0])):
    if number >= index[-1]:
      break


def opencv(path: str, index: np.ndarray, size: int) -> np.ndarray:
  """Seeks to the first frame, grabs on and retrieves wanted frames."""
  capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
  capture.set(cv2.CAP_PROP_POS_FRAMES, int(index[0]))
  frames, wanted = [], set(index.tolist())
  for number in range(int(index[0]), int(index[-1]) + 1):
    if not capture.grab():
      break
    if number in wanted:
      _, frame = capture.retrieve()
      shape = scaled(frame.shape[1], frame.shape[0], size)
      frames.append(cv2.cvtColor(cv2.resize(frame, shape), cv2.COLOR_BGR2RGB))
  capture.release()
  return np.stack(frames)


def with_decord(path: str, index: np.ndarray, size: int) -> np.ndarray:
  """Reads with decord, which resizes while it decodes."""
  width, height = SIZES[path]
  width, height = scaled(width, height, size)
  reader = decord.VideoReader(path, width=width, height=height, num_threads=1)
  return reader.get_batch(index.tolist()).asnumpy()


def with_torchcodec(path: str, index: np.ndarray, size: int) -> np.ndarray:
  """Reads with torchcodec, which then resizes with OpenCV as ours does."""
  decoder = torchcodec.VideoDecoder(
    path, num_ffmpeg_threads=1, seek_mode='approximate', dimension_order='NHWC'
  )
  frames = decoder.get_frames_at(index.tolist()).data.numpy()
  shape = scaled(frames.shape[2], frames.shape[1], size)
  return np.stack([cv2.resize(f, shape) for f in frames])


def encoded(path: str, gop: int, folder: pathlib.Path) -> str:
  """Encodes a video with a keyframe every `gop` frames. -> its path."""
  result = folder / f'{pathlib.Path(path).stem}, GOP {gop}.mp4'
  count = 0
  with av.open(str(result), 'w') as target:
    stream = None
    while count < 1000:
      with av.open(path) as source:
        for frame in source.decode(video=0):
          if stream is None:
            options = {'crf': '23', 'sc_threshold': '0'}
            stream = target.add_stream('libx264', 30, options=options)
            stream.width, stream.height = frame.width, frame.height
            stream.pix_fmt, stream.gop_size = 'yuv420p', gop
            stream.codec_context.thread_count = 1
          frame = frame.reformat(format='yuv420p')
          frame.pts, frame.time_base = count, fractions.Fraction(1, 30)
          frame.pict_type = av.video.frame.PictureType.NONE
          target.mux(stream.encode(frame))
          count += 1
    target.mux(stream.encode(None))
  return str(result)


def table_of(path: str) -> FrameTable:
  """Returns the table of frames that an index keeps of a file."""
  with read.Video(path) as video:
    return video._table


SIZES: dict[str, tuple[int, int]] = {}  # coded width and height


def scaled(width: int, height: int, size: int) -> tuple[int, int]:
  """Returns width and height with a short side of `size`."""
  scale = size / min(width, height)
  return round(width * scale), round(height * scale)


def settings(args) -> dict:
  """Returns `config.data`: the same frames, then crop and flip."""
  data = {
    'num_frames': args.frames,
    'sampling': 'dense',
    'stride': args.stride,
    'crop': args.size,
    'short_side': args.size,
    'crop_area': (0.08, 1.0),
    'flip': True,
  }
  return configs.complete({'data': data}).data.to_dict()


def as_videos(paths: list[str]) -> dataset.Videos:
  """Returns a data set of these files."""
  records = tuple(dataset.Record(path, path, 0) for path in paths)
  return dataset.Videos(records, ('0', '1'))


class Pipeline:
  """Makes clips as the training pipeline does, of the frames that are given."""

  def __init__(self, path: str, args):
    shard = training_order.ProcessShard(batch_size=1)
    self.clip = training_order.TrainClip(
      as_videos([path]), settings(args), args.seed, shard
    )
    self.position = 0

  def __call__(self, path: str, index: np.ndarray, size: int) -> np.ndarray:
    self.position += 1
    with mock.patch.object(rules, 'train_clip', lambda *_: index):
      return self.clip(self.position)['clip']


def measure_batches(paths: list[str], args) -> float:
  """Returns mean CPU milliseconds a clip of `train_batches`, of one thread.

  A batch contains every file once, as the table does. The mean, as the thread
  reads ahead: a batch's work is not all done while it is waited for.
  """
  with pipeline.train_batches(
    as_videos(paths),
    settings(args),
    seed=args.seed,
    batch_size=len(paths),
    threads=1,
  ) as batches:
    for _ in range(3):  # Until reading ahead is complete.
      next(batches)
    count, before = max(args.repeats // 2, 1), time.process_time()
    for _ in range(count):
      next(batches)
    spent = time.process_time() - before
  return spent * 1e3 / count / len(paths)


def times_of(path: str, args) -> dict[str, float]:
  """Returns median CPU milliseconds a clip for every reader of a file."""
  info = read.probe(path)
  with av.open(path) as container:
    stream = container.streams.video[0]
    SIZES[path] = stream.width, stream.height
  readers = {'ours': ours, 'indexed': Indexed(path)}
  readers['pipeline'] = Pipeline(path, args)
  readers |= {'decoding': decoding, 'PyAV': bare_pyav, 'OpenCV': opencv}
  if decord:
    readers['decord'] = with_decord
  if torchcodec:
    readers['torchcodec'] = with_torchcodec
  rng = np.random.default_rng(args.seed)
  times = collections.defaultdict(list)
  for repeat in range(args.repeats + 1):
    span = args.frames * args.stride
    start = rng.integers(max(info.num_frames - span, 0) + 1)
    index = start + np.arange(args.frames) * args.stride
    index = np.minimum(index, info.num_frames - 1)
    for name, reader in readers.items():
      before = time.process_time()
      try:
        reader(path, index, args.size)
      except Exception as error:  # A failing reader is a result.
        if not repeat:
          print(f'  {name} cannot read {path}: {str(error).strip()[:99]!r}')
        before = float('nan')
      if repeat:  # The first round warms caches up.
        times[name].append((time.process_time() - before) * 1e3)
  return {name: statistics.median(values) for name, values in times.items()}


def main(argv: list[str] | None = None) -> None:
  """Reads each file with every reader and writes the ratios."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('folder', type=pathlib.Path)
  parser.add_argument('--files', nargs='*', default=FILES)
  parser.add_argument(
    '--gops',
    nargs='*',
    type=int,
    help='encode the files with a keyframe every so many frames',
  )
  parser.add_argument('--frames', type=int, default=16)
  parser.add_argument('--stride', type=int, default=4)
  parser.add_argument('--size', type=int, default=224)
  parser.add_argument('--repeats', type=int, default=30)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--out', type=pathlib.Path)
  args = parser.parse_args(argv)
  cv2.setNumThreads(1)
  with tempfile.TemporaryDirectory() as folder:
    paths = [str(args.folder / file) for file in args.files]
    if args.gops:
      folder = pathlib.Path(folder)
      paths = [
        encoded(path, gop, folder) for path in paths for gop in args.gops
      ]
    write(paths, args)


def write(paths: list[str], args) -> None:
  """Reads each file with every reader, and writes the page."""
  lines = [header(args)]
  ratios, pipeline_times = collections.defaultdict(list), []
  for path in paths:
    times = times_of(path, args)
    names = list(times)
    if len(lines) == 1:
      lines += [
        '| CPU-ms a clip | ' + ' | '.join(names) + ' |',
        '|---' * (len(names) + 1) + '|',
      ]
    cells = [f'{times[name]:.1f}' for name in names]
    file = pathlib.Path(path).name
    if args.gops:
      file += f' ({len(pickle.dumps(table_of(path))) / 1024:.1f} KiB)'
    lines.append(f'| {file} | ' + ' | '.join(cells) + ' |')
    print(lines[-1], flush=True)
    pipeline_times.append(times['pipeline'])
    for name in names:
      ratios[name].append(times[name] / times['ours'])
  means = {
    name: np.exp(np.nanmean(np.log(values))) for name, values in ratios.items()
  }
  cells = [f'{means[name]:.2f}' for name in ratios]
  lines.append('| relative to ours | ' + ' | '.join(cells) + ' |')
  print(lines[-1])
  ours, table = measure_batches(paths, args), statistics.mean(pipeline_times)
  lines.append(
    f'\n`train_batches` with one thread, batches of a clip of each file: '
    f'{ours:.1f} CPU-ms a clip (mean), {1e3 / ours:.1f} clips/s and core; '
    f"the mean of `pipeline`'s medians above is {table:.1f}. As one is a mean, "
    'and of other clips, the difference tells only roughly what Grain and '
    'batching cost.'
  )
  print(lines[-1])
  if args.out:
    args.out.mkdir(parents=True, exist_ok=True)
    name = 'input_gops.md' if args.gops else 'input_throughput.md'
    (args.out / name).write_text('\n'.join(lines) + '\n')


def header(args) -> str:
  """Returns the setup of the measurement."""
  versions = f'PyAV {av.__version__}, OpenCV {cv2.__version__}, '
  versions += (
    f'decord {decord.__version__ if decord else "absent"}, torchcodec '
  )
  versions += metadata.version('torchcodec') if torchcodec else 'absent'
  return (
    '# Input throughput\n\n'
    f'{args.frames} frames, stride {args.stride}, short side {args.size}; '
    f'medians of {args.repeats} clips a file, readers taking turns; CPU time '
    'of all threads; relative: geometric mean.\n'
    '`indexed` is ours with an index; `pipeline` also crops at random, resizes '
    'and flips.\n\n'
    f'{measure.machine()}, {versions}.\n'
  )


if __name__ == '__main__':
  main()
