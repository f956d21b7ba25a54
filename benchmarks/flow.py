# SPDX-License-Identifier: Apache-2.0
"""Compares optical flow, computed and prepared, to OpenCV in a plain loop.

  python -m benchmarks.flow FOLDER --out=benchmarks/results

For every video, each turn computes the flow of its first `--frames` frames at
short side `--size`: by OpenCV alone (its own decoder, resize and flow), by ours
while reading, and by ours as preparing does, encoded. Then it reads stacks of
`--count` fields at random places: computed, and from what was encoded. Turns
alternate, so that a busy machine slows all of them; CPU time is counted, on one
thread, and a line is the median over the turns.
"""

import argparse
import os
import pathlib
import statistics
import time

# Read by OpenCV when it opens a video.
os.environ.setdefault('OPENCV_FFMPEG_CAPTURE_OPTIONS', 'threads;1')

import cv2
import numpy as np

from benchmarks import measure
from data import flow as flows
from flatten_jax.inputs.flow import fields, methods, prepared_flow
from flatten_jax.inputs.flow.flow_video import ComputedFields
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.interface import scaled_shape
from flatten_jax.inputs.video.read import Video

PLACES = 4  # Stacks that are read of a video in a turn.


def plain_opencv(path, count, size, method):
  """Decodes, resizes and computes with OpenCV alone. -> uint8 [count H W 2]."""
  capture, flow = cv2.VideoCapture(path), methods.METHODS[method]()
  found, before = [], None
  while len(found) < count:
    there, image = capture.read()
    if not there:
      break
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    height, width = scaled_shape(grey.shape, size)
    grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    if before is not None:
      found.append(fields.to_bytes(flow(before, grey)))
    before = grey
  capture.release()
  return np.stack(found)


def ours(path, numbers, size, method):
  """Computes fields while reading. -> uint8 [T H W 2]."""
  with Video(path, size) as video:
    return ComputedFields(path, video, method).read(numbers)


class Stored:
  """The encoded flow of one video, as a record of a prepared set gives it."""

  suffix = prepared_flow.PreparedFlow.suffix

  def __init__(self, path, size, method, count):
    with Video(path, size) as video:
      computed = ComputedFields(path, video, method)
      self.data = flows.encode(computed.read(range(count)))

  def read(self):
    """Returns the encoded video."""
    return self.data


def prepared(stored, numbers):
  """Reads stored fields. -> uint8 [T H W 2]."""
  with prepared_flow.PreparedFields(stored) as video:
    return video.read(numbers)


def main(argv=None):
  """Measures all videos of a folder, and writes the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('folder', type=pathlib.Path)
  parser.add_argument('--method', default='dis', choices=methods.METHODS)
  parser.add_argument('--size', type=int, default=256)
  parser.add_argument('--frames', type=int, default=64)
  parser.add_argument('--count', type=int, default=10)
  parser.add_argument('--videos', type=int, default=12)
  parser.add_argument('--rounds', type=int, default=5)
  parser.add_argument('--out', type=pathlib.Path)
  args = parser.parse_args(argv)
  cv2.setNumThreads(1)
  videos = readable(args)
  stored = {
    path: Stored(path, args.size, args.method, length)
    for path, length in videos.items()
  }
  turns = [turn(args, videos, stored, i) for i in range(args.rounds)]
  lines = report(args, videos, stored, turns)
  text = '\n'.join(lines) + '\n'
  print(text)
  if args.out:
    (args.out / 'flow.md').write_text(text)


def readable(args):
  """Returns {path: fields to compute} of videos that are long enough."""
  found = {}
  for path in map(str, measure.videos_below(args.folder)):
    if len(found) == args.videos:
      break
    try:
      with Video(path) as video:
        length = min(video.num_frames, args.frames) - 1
        video.read([length])
    except VideoError:
      continue
    if length > args.count and cv2.VideoCapture(path).isOpened():
      found[path] = length
  if not found:
    raise SystemExit(
      f'{args.folder} must have readable videos of more than {args.count + 1} '
      'frames (--count); there is none.'
    )
  return found


def jobs_of(path, length, stored, args, rng):
  """Returns {name: (function, number of fields)} for one video."""
  options, whole = (args.size, args.method), np.arange(length)
  places = rng.integers(length - args.count, size=PLACES)
  stacks = [place + np.arange(args.count) for place in places]
  few = PLACES * args.count

  def of_stacks(read):
    return lambda: [read(stack) for stack in stacks]

  return {
    'OpenCV in a loop': (lambda: plain_opencv(path, length, *options), length),
    'ours, while reading': (lambda: ours(path, whole, *options), length),
    'ours, computed and stored': (
      lambda: Stored(path, *options, length),
      length,
    ),
    'stacks, computed': (of_stacks(lambda x: ours(path, x, *options)), few),
    'stacks, prepared': (of_stacks(lambda x: prepared(stored, x)), few),
  }


def turn(args, videos, stored, number):
  """Does everything once. -> {name: CPU seconds per field}."""
  rng, spent = np.random.default_rng(number), {}
  for path, length in videos.items():
    jobs = jobs_of(path, length, stored[path], args, rng)
    for name, (job, count) in jobs.items():
      before = time.process_time()
      job()
      used = (time.process_time() - before) / count
      spent.setdefault(name, []).append(used)
  return {name: statistics.mean(values) for name, values in spent.items()}


def report(args, videos, stored, turns):
  """Returns the lines of the table."""
  size = sum(len(stored[path].data) for path in videos)
  size /= sum(videos.values())
  lines = [
    '# Optical flow, and OpenCV in a plain loop',
    '',
    f'{measure.machine()}, OpenCV {cv2.__version__}; load at the end '
    f'{os.getloadavg()[0]:.1f}. CPU time of one thread, medians of '
    f'{args.rounds} alternating turns over {len(videos)} real videos. '
    '`python -m benchmarks.flow`',
    '',
    f'{args.method}, short side {args.size} px; a stack is {args.count} fields '
    f'at a random place. Stored fields take {size / 1e3:.1f} kB each.',
    '',
    '| | ms per field | fields/s | time, the first of its kind = 1 |',
    '|---|---|---|---|',
  ]
  base = {}
  for name in turns[0]:
    kind = 'stacks' in name
    time_of = statistics.median(each[name] for each in turns)
    first = base.setdefault(kind, name)
    ratio = statistics.median(each[name] / each[first] for each in turns)
    lines.append(
      f'| {name} | {1e3 * time_of:.2f} | {1 / time_of:.0f} | {ratio:.2f} |'
    )
  return lines


if __name__ == '__main__':
  main()
