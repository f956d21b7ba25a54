# SPDX-License-Identifier: Apache-2.0
r"""Damages real videos in many ways, and checks the error of reading them.

  python -m benchmarks.fuzz_decoding --clips=/videos

Every mutation is a function of its number, so it can be repeated. Videos are
read as training reads them, in a process of their own: if it crashes or hangs,
the mutation is counted and named, and another process continues.
"""

import argparse
import collections
import multiprocessing
import pathlib
import queue
import tempfile
import time

import av
import numpy as np

from benchmarks import measure
from flatten_jax.inputs.parts import read_clip
from flatten_jax.inputs.sources.dataset import Record
from flatten_jax.inputs.video.container import VideoError, VideoTimeout
from flatten_jax.inputs.video.reader import Reader

LIMIT = 20.0  # Seconds for a video, as data.time_limit.
HANG = 3 * LIMIT  # Until the process is taken for stuck.
NUM_FRAMES, SHORT_SIDE = 8, 64


# --- Mutations: bytes -> bytes ------------------------------------------------


def truncate(data: bytes, rng, others) -> bytes:
  """Keeps only the beginning."""
  return data[: int(rng.integers(1, len(data)))]


def behead(data: bytes, rng, others) -> bytes:
  """Cuts off up to a quarter at the beginning."""
  return data[int(rng.integers(1, max(len(data) // 4, 2))) :]


def flip_bits(data: bytes, rng, others) -> bytes:
  """Flips one to a thousand bits anywhere."""
  out = np.frombuffer(data, np.uint8).copy()
  at = rng.integers(len(out), size=int(10 ** rng.uniform(0, 3)))
  out[at] ^= (1 << rng.integers(8, size=len(at))).astype(np.uint8)
  return out.tobytes()


def flip_header(data: bytes, rng, others) -> bytes:
  """Changes bytes among the first or last 4096, where indices are."""
  out = np.frombuffer(data, np.uint8).copy()
  reach = min(4096, len(out))
  at = rng.integers(reach, size=int(rng.integers(1, 9)))
  if rng.random() < 0.5:
    at = len(out) - 1 - at
  out[at] = rng.integers(256, size=len(at))
  return out.tobytes()


def splice(data: bytes, rng, others) -> bytes:
  """Joins the beginning of one video and the end of another."""
  other = others[int(rng.integers(len(others)))]
  return (
    data[: int(rng.integers(1, len(data)))]
    + other[int(rng.integers(len(other))) :]
  )


def swap_header(data: bytes, rng, others) -> bytes:
  """Replaces the first bytes by those of another video."""
  other = others[int(rng.integers(len(others)))]
  size = int(2 ** rng.uniform(3, 13))
  return other[:size] + data[size:]


def fill(data: bytes, rng, others) -> bytes:
  """Overwrites a part in the middle with zeros or noise."""
  out = bytearray(data)
  start = int(rng.integers(len(out)))
  size = min(int(2 ** rng.uniform(2, 14)), len(out) - start)
  out[start : start + size] = (
    bytes(size) if rng.random() < 0.5 else rng.bytes(size)
  )
  return bytes(out)


def repeat(data: bytes, rng, others) -> bytes:
  """Repeats a part, or leaves it out."""
  start = int(rng.integers(len(data)))
  end = min(start + int(2 ** rng.uniform(2, 14)), len(data))
  again = data[start:end] if rng.random() < 0.5 else b''
  return (
    data[:start] + again + data[start:] if again else data[:start] + data[end:]
  )


MUTATIONS = {
  function.__name__.replace('_', ' '): function
  for function in (
    truncate,
    behead,
    flip_bits,
    flip_header,
    splice,
    swap_header,
    fill,
    repeat,
  )
}


def mutate(
  number: int, originals: list[tuple[str, bytes]]
) -> tuple[str, str, bytes]:
  """Returns the kind of a mutation, the name of its original, its bytes."""
  rng = np.random.default_rng(number)
  kind = list(MUTATIONS)[number % len(MUTATIONS)]
  name, data = originals[int(rng.integers(len(originals)))]
  others = [other for _, other in originals]
  return kind, name, MUTATIONS[kind](data, rng, others)


# --- Reading them -------------------------------------------------------------


def outcome(path: pathlib.Path, reader: Reader) -> tuple[str, str]:
  """Reads a video. -> (outcome, cause if it is an error)"""
  record = Record('', path, 0)
  try:
    clip, _ = read_clip(
      reader,
      record,
      SHORT_SIDE,
      lambda part: np.linspace(0, part.length - 1, NUM_FRAMES).astype(int),
    )
  except VideoTimeout as error:
    return 'time limit', error.cause
  except VideoError as error:
    clear = error.cause and '\n' not in error.cause
    return ('error' if clear else 'unclear error'), error.cause
  except BaseException as error:
    return 'other exception', repr(error)
  right = clip.dtype == np.uint8 and len(clip) == NUM_FRAMES
  if not right or min(clip.shape[1:3]) != SHORT_SIDE:
    return 'wrong clip', str(clip.shape)
  return 'frames', ''


def work(folder: str, numbers: range, results) -> None:
  """Reads mutations one after the other; reports each before reading it."""
  originals = load(pathlib.Path(folder))
  reader = Reader({'time_limit': LIMIT})
  with tempfile.TemporaryDirectory() as place:
    for number in numbers:
      _, name, data = mutate(number, originals)
      path = pathlib.Path(place) / f'{number}{pathlib.Path(name).suffix}'
      path.write_bytes(data)
      results.put((number, 'begins', ''))
      results.put((number, *outcome(path, reader)))
      path.unlink()


def load(folder: pathlib.Path, most: int = 700_000) -> list[tuple[str, bytes]]:
  """Reads the originals, with only a few of similar ones.

  Raises:
    SystemExit: there are none of at most `most` bytes.
  """
  seen = collections.Counter()
  originals = []
  for path in measure.videos_below(folder):
    if not 0 < path.stat().st_size < most:
      continue
    seen[path.parent] += 1
    if 'gestures' not in path.parts or seen[path.parent] <= 2:
      originals.append((path.name, path.read_bytes()))
  if not originals:
    raise SystemExit(f'{folder} must have a video below {most / 1e3:.0f} kB')
  return originals


def fuzz(folder: pathlib.Path, count: int) -> dict[int, tuple[str, str]]:
  """Returns outcomes by number; replaces processes that end or hang."""
  context = multiprocessing.get_context('spawn')
  outcomes: dict[int, tuple[str, str]] = {}
  while len(outcomes) < count:  # They arrive in order.
    current, results = len(outcomes), context.Queue()
    process = context.Process(
      target=work, args=(str(folder), range(current, count), results)
    )
    process.start()
    heard = time.monotonic()
    while len(outcomes) < count:
      try:
        number, word, cause = results.get(timeout=1.0)
      except queue.Empty:
        alive = process.is_alive()
        if alive and time.monotonic() - heard < HANG:
          continue
        outcomes[current] = (
          ('hang', '') if alive else ('crash', f'exit {process.exitcode}')
        )
        break
      heard, current = time.monotonic(), number
      if word != 'begins':
        outcomes[number] = word, cause
        if len(outcomes) % 200 == 0:
          print(f'{len(outcomes)} of {count}', flush=True)
    process.kill()
    process.join()
  return outcomes


# --- Report -------------------------------------------------------------------

GOOD = ('frames', 'error', 'time limit')
BAD = ('unclear error', 'wrong clip', 'other exception', 'hang', 'crash')


def table(outcomes: dict[int, tuple[str, str]]) -> str:
  """Returns kinds of mutation in rows, outcomes in columns."""
  kinds = list(MUTATIONS)
  counts = collections.Counter(
    (kinds[number % len(kinds)], word) for number, (word, _) in outcomes.items()
  )
  columns = (*GOOD, *BAD)
  lines = [
    f'| mutation | {" | ".join(columns)} |',
    '|---' + '|--:' * len(columns) + '|',
  ]
  for kind in kinds:
    cells = ' | '.join(str(counts[kind, word]) for word in columns)
    lines.append(f'| {kind} | {cells} |')
  totals = [sum(counts[kind, word] for kind in kinds) for word in columns]
  lines.append(f'| **all** | {" | ".join(map(str, totals))} |')
  return '\n'.join(lines)


def common_causes(outcomes: dict[int, tuple[str, str]]) -> str:
  """Returns the most frequent errors."""
  causes = collections.Counter(
    cause for word, cause in outcomes.values() if word == 'error'
  )
  lines = ['| times | error |', '|--:|---|']
  lines += [f'| {count} | {cause} |' for cause, count in causes.most_common(12)]
  return '\n'.join(lines)


def main(argv: list[str] | None = None) -> None:
  """Prints the table, and writes it to `--out`."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--clips', type=pathlib.Path, required=True)
  parser.add_argument('--mutations', type=int, default=2000)
  parser.add_argument('--out', type=pathlib.Path)
  args = parser.parse_args(argv)
  originals = load(args.clips)
  start = time.monotonic()
  outcomes = fuzz(args.clips, args.mutations)
  seconds = time.monotonic() - start
  bad = {n: found for n, found in outcomes.items() if found[0] in BAD}
  text = (
    f'{len(outcomes)} mutations of {len(originals)} videos in '
    f'{seconds:.0f} s, one process. {measure.machine()}, PyAV '
    f'{av.__version__}.\n\n'
    f'{table(outcomes)}\n\n{common_causes(outcomes)}\n'
  )
  for number, (word, cause) in bad.items():
    kind, name, _ = mutate(number, load(args.clips))
    text += f'\nMutation {number} ({kind} of {name}): {word} {cause}\n'
  print(text)
  if args.out:
    args.out.write_text(HEAD + text)
  raise SystemExit(bool(bad))


HEAD = """# Damaged videos

Eight frames of every mutated video are read as in training, with a time limit
of 20 s. Each has to end in frames or in an error of one line; columns from
"unclear error" on have to be zero.

    python -m benchmarks.fuzz_decoding --clips=/videos

"""

if __name__ == '__main__':
  main()
