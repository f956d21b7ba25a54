# SPDX-License-Identifier: Apache-2.0
"""Makes the shards of a plan, in processes of this machine."""

from collections.abc import Callable
import contextlib
import ctypes
import json
import os

from data import builder
from data.annotations import Video
from data.plan import MISSING, Plan, done_file, load_shard
from flatten_jax.inputs import workers
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.frame_files.frame_folder import FramesPath
from flatten_jax.paths import write_text
from flatten_jax.progress import Progress


def make_shard(
  out: str, name: str, tick: Callable[[], None] = lambda: None
) -> str:
  """Makes one shard of the plan in `out`, unless it exists, and returns `name`.

  One video at a time is in memory. The result depends on the plan only. `tick`
  is called after each file.
  """
  if done_file(out, name).is_file():
    return name
  plan, shard = Plan.load(out), load_shard(out, name)
  path = builder.shard_path(
    out, plan.data_set, shard.split, shard.number, shard.count
  )
  spec = builder.features(plan.class_names, plan.num_roles, plan.multi_label)
  numbers = {name: number for number, name in enumerate(plan.class_names)}
  outcomes = []
  with builder.writing(path) as records:
    writer = builder.RecordWriter(records, spec)
    for video, file in zip(shard.videos, shard.paths, strict=True):
      if file is None:
        outcomes.append({'cause': MISSING})
      else:
        outcomes.append(store(writer, plan, video, file, numbers))
        tick()
  # Last: a shard with this file is complete.
  write_text(done_file(out, name), json.dumps(outcomes) + '\n')
  # Buffers of every size leave holes: without this, a process grew by 30 MiB in
  # 3000 videos, none of which was in use.
  with contextlib.suppress(OSError, AttributeError):  # Not glibc.
    ctypes.CDLL('libc.so.6').malloc_trim(0)
  return name


def store(
  writer: builder.RecordWriter,
  plan: Plan,
  video: Video,
  file: str | FramesPath,
  numbers: dict[str, int],
) -> dict:
  """Writes the record of a video, and returns its index entry or the cause."""
  try:
    data, suffix = plan.treatment(file)
  except VideoError as error:
    return {'cause': f'unreadable: {error.cause}'}
  found = [numbers[name] for name in video.classes]
  is_file = not isinstance(file, FramesPath)
  name = os.path.splitext(os.path.basename(file))[0] if is_file else file.name
  name += suffix
  # Bytes of a name that are not UTF-8 are stored as they are.
  example = {'id': os.fsencode(video.id), 'file': os.fsencode(name)}
  example |= {'video': data, 'start': video.start, 'end': video.end}
  if plan.multi_label:
    example['labels'] = found
  else:
    (example['label'],) = found or [-1]
  if plan.num_roles:
    example['roles'] = video.roles
  return {'file': name, 'bytes': len(data), 'record': writer.write(example)}


def make_all(out: str, processes: int, progress: bool = True) -> None:
  """Makes all missing shards; the first error of any process ends all."""
  plan = Plan.load(out)
  todo = plan.todo(out)
  total, left = sum(plan.shards.values()), sum(plan.shards[n] for n in todo)
  bar = Progress(
    'Storing',
    'videos',
    total=total,
    initial=total - left,
    disable=not progress,
  )
  with bar:
    if min(processes, len(todo)) < 2:
      for name in todo:
        make_shard(out, name, bar.update)
      return
    jobs = [(out, name) for name in todo]
    for name in workers.share(make_shard, jobs, processes):
      bar.update(plan.shards[name])
