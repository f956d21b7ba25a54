# SPDX-License-Identifier: Apache-2.0
"""Makes the shards of a plan, in processes of this machine."""

from collections.abc import Callable
from concurrent import futures
import contextlib
import ctypes
import json
import multiprocessing
import os

from tqdm import tqdm

from data import builder
from data.annotations import Video
from data.media import Unreadable
from data.plan import MISSING, Plan, done_file, load_shard, write


def make_shard(
  out: str, name: str, tick: Callable[[], None] = lambda: None
) -> None:
  """Makes one shard of the plan in `out`, unless it is there already.

  One video at a time is in memory. What comes out depends on the plan and on
  nothing else.

  Args:
    out: the folder that is prepared.
    name: of the shard.
    tick: called after each file.
  """
  if done_file(out, name).is_file():
    return
  plan, shard = Plan.load(out), load_shard(out, name)
  path = builder.shard_path(
    out, plan.data_set, shard.split, shard.number, shard.count
  )
  spec = builder.features(plan.class_names, plan.num_roles)
  writer = builder.RecordWriter(path, spec)
  outcomes = []
  try:
    for video, file in zip(shard.videos, shard.paths, strict=True):
      if file is None:
        outcomes.append({'cause': MISSING})
      else:
        outcomes.append(store(writer, plan, video, file))
        tick()
    writer.close()
  except BaseException:
    writer.discard()
    raise
  # Last: a shard with this file is complete.
  write(done_file(out, name), json.dumps(outcomes) + '\n')
  give_back_memory()


def give_back_memory() -> None:
  """Returns what is free to the system.

  Buffers of every size leave holes: without this, a process grew by 30 MiB in
  3000 videos, none of which was in use.
  """
  with contextlib.suppress(OSError, AttributeError):  # Not glibc.
    ctypes.CDLL('libc.so.6').malloc_trim(0)


def store(
  writer: builder.RecordWriter, plan: Plan, video: Video, file: str
) -> dict:
  """Writes the record of a video; what became of it."""
  try:
    data, suffix = plan.treatment(file)
  except Unreadable as error:
    return {'cause': f'unreadable: {error}'}
  label = -1 if video.label is None else plan.numbers[video.label]
  name = os.path.splitext(os.path.basename(file))[0] + suffix
  # Odd bytes in a name are stored as they are.
  example = {'id': os.fsencode(video.id), 'file': os.fsencode(name)}
  example |= {'video': data, 'label': label}
  example |= {'start': video.start, 'end': video.end}
  if plan.num_roles:
    example['roles'] = video.roles
  return {'file': name, 'bytes': len(data), 'record': writer.write(example)}


def make_all(out: str, processes: int, progress: bool = True) -> None:
  """Makes all shards that are not there yet, in so many processes."""
  plan = Plan.load(out)
  todo = plan.todo(out)
  total, left = sum(plan.shards.values()), sum(plan.shards[n] for n in todo)
  bar = tqdm(
    desc='Storing',
    unit=' videos',
    total=total,
    initial=total - left,
    disable=not progress,
    smoothing=0.05,
  )
  with bar:
    if processes <= 1:
      for name in todo:
        make_shard(out, name, bar.update)
      return
    make_in_processes(out, todo, min(processes, len(todo)), bar)


def make_in_processes(
  out: str, todo: list[str], processes: int, bar: tqdm
) -> None:
  """The same, in processes; the first error of any of them ends all."""
  if not todo:
    return
  # Spawned: what the libraries hold must not be inherited by a fork.
  context = multiprocessing.get_context('spawn')
  count = context.Value('q', 0)
  pool = futures.ProcessPoolExecutor(
    processes, context, initializer=set_counter, initargs=(count,)
  )
  first = bar.n
  try:
    waiting = {pool.submit(make_counted, out, name) for name in todo}
    while waiting:
      done, waiting = futures.wait(
        waiting, timeout=0.5, return_when=futures.FIRST_EXCEPTION
      )
      for future in done:
        future.result()
      bar.update(first + count.value - bar.n)
  finally:
    pool.shutdown(cancel_futures=True)


def set_counter(count) -> None:
  """Gives a process what it counts with."""
  global _count
  _count = count


def make_counted(out: str, name: str) -> None:
  """`make_shard` in a process that was given a counter."""

  def tick():
    with _count.get_lock():
      _count.value += 1

  make_shard(out, name, tick)


_count = None
