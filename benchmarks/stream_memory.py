# SPDX-License-Identifier: Apache-2.0
r"""Measures memory and latency while a stream is classified for an hour.

  python -m benchmarks.stream_memory --minutes=60

Another process renders an endless film and sends it in real time, as MPEG-TS
over TCP, and ends the connection now and then, so that it has to be made again.
Each minute becomes a row of `--out`, which is written anew each time.
"""

import argparse
from collections.abc import Iterator
import contextlib
from fractions import Fraction
import json
import multiprocessing
import pathlib
import socket
import time

import av
import numpy as np

from benchmarks import measure
import flatten_jax as fj
from flatten_jax.prediction.stream import StreamAnswer

FPS, HEIGHT, WIDTH = 25, 240, 320
MODEL = 'uniformer_nano/quickstart'
OUT = pathlib.Path(__file__).parent / 'results' / 'stream_memory.json'


def serve(server: socket.socket, seconds: float) -> None:
  """Sends films of some seconds, one for each connection."""
  while True:
    connection, _ = server.accept()
    # The other end may have gone.
    with (
      contextlib.suppress(av.FFmpegError, OSError),
      connection,
      connection.makefile('wb') as file,
    ):
      send(file, seconds)


def send(file, seconds: float) -> None:
  """Sends a disc on noise, in real time, as MPEG-TS."""
  rng = np.random.default_rng(0)
  texture = rng.integers(0, 120, (HEIGHT, 2 * WIDTH, 3), np.uint8)
  texture = np.kron(texture[::8, ::8], np.ones((8, 8, 1), np.uint8))
  options = {'preset': 'ultrafast', 'tune': 'zerolatency', 'g': str(FPS)}
  with av.open(file, 'w', format='mpegts') as container:
    stream = container.add_stream('libx264', rate=FPS, options=options)
    stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, 'yuv420p'
    begin = time.monotonic()
    for number in range(round(seconds * FPS)):
      shift = 3 * number % WIDTH
      image = np.ascontiguousarray(texture[:, shift : shift + WIDTH])
      frame = av.VideoFrame.from_ndarray(image, format='rgb24')
      frame.pts, frame.time_base = number, Fraction(1, FPS)
      container.mux(stream.encode(frame))
      file.flush()
      time.sleep(max(begin + number / FPS - time.monotonic(), 0))


def main(argv: list[str] | None = None) -> None:
  """Writes the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--minutes', type=int, default=60)
  parser.add_argument('--every', type=float, default=0.5)
  parser.add_argument('--breaks', type=float, default=900, help='seconds')
  parser.add_argument('--out', type=pathlib.Path, default=OUT)
  args = parser.parse_args(argv)
  with socket.create_server(('127.0.0.1', 0)) as server:
    sender = multiprocessing.get_context('spawn').Process(
      target=serve, args=(server, args.breaks), daemon=True
    )
    sender.start()
    address = f'tcp://127.0.0.1:{server.getsockname()[1]}'
    with contextlib.closing(
      fj.stream(MODEL, address, every=args.every)
    ) as answers:
      watch(answers, args)
    sender.terminate()
    sender.join()


def watch(answers: Iterator[StreamAnswer], args: argparse.Namespace) -> None:
  """Takes answers for some minutes, and writes a row after each."""
  rows, latencies, begin = [], [], time.monotonic()
  for answer in answers:
    latencies.append(answer.latency)
    minutes = (time.monotonic() - begin) / 60
    if minutes >= len(rows):  # The first row: after the first window.
      row = {
        'minute': len(rows),
        'rss_mib': round(measure.resident(), 1),
        'answers': len(latencies),
        'latency_ms_median': round(1000 * float(np.median(latencies)), 1),
        'latency_ms_most': round(1000 * max(latencies), 1),
        'skipped': answer.skipped,
        'dropped': answer.dropped,
      }
      rows.append(row)
      latencies.clear()
      print(row, flush=True)
      write(args, rows)
    if minutes >= args.minutes:
      break


def write(args: argparse.Namespace, rows: list[dict]) -> None:
  """Writes the rows so far, with what they are of."""
  content = {
    'model': MODEL,
    'source': f'MPEG-TS over TCP, {WIDTH} x {HEIGHT}, {FPS} frames per second, '
    f'a new connection every {args.breaks:g} s',
    'every': args.every,
    'machine': measure.machine(),
    'av': av.__version__,
    'minutes': rows,
  }
  args.out.write_text(json.dumps(content, indent=1) + '\n')


if __name__ == '__main__':
  main()
