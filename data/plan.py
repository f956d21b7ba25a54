# SPDX-License-Identifier: Apache-2.0
"""Decides which video goes into which shard, before any is read.

The plan lies in the folder that is prepared, with a file for each shard. So
whoever makes a shard, a process here or a machine elsewhere, needs
its name only; and a run that was interrupted goes on.
"""

from collections.abc import Callable, Iterable
import dataclasses
import functools
import hashlib
import json
import os
import pathlib

from tqdm import tqdm

from data.annotations import Annotations, DataSet, Video
from data.media import Treatment

PLAN, WORK, FINISHED = 'plan.json', 'shards_to_make', 'prepared.json'
MISSING = 'missing'


@dataclasses.dataclass(frozen=True)
class Shard:
  """What goes into one file of the prepared set.

  Attributes:
    split: of the videos.
    number: of the shard among the `count` of its split.
    count: see there.
    videos: in the order of the annotations, missing ones among them.
    paths: their files; None where there is none.
  """

  split: str
  number: int
  count: int
  videos: list[Video]
  paths: list[str | None]

  @property
  def name(self) -> str:
    """Of the shard, in the plan."""
    return f'{self.split}-{self.number:05d}-of-{self.count:05d}'


@dataclasses.dataclass(frozen=True)
class Plan:
  """All that is the same for every shard.

  Attributes:
    data_set: its name.
    class_names: class i is `class_names[i]`.
    num_roles: see `Video.roles`.
    treatment: of the videos.
    shards: {name: how many of its videos have a file}.
    digest: of everything that decides what will be written.
  """

  data_set: str
  class_names: tuple[str, ...]
  num_roles: int
  treatment: Treatment
  shards: dict[str, int]
  digest: str

  @classmethod
  def load(cls, out: str | os.PathLike) -> 'Plan':
    """The plan that lies in a folder."""
    content = json.loads((pathlib.Path(out) / PLAN).read_text())
    content['treatment'] = Treatment(**content['treatment'])
    content['class_names'] = tuple(content['class_names'])
    return cls(**content)

  @functools.cached_property
  def numbers(self) -> dict[str, int]:
    """{class name: its number}."""
    return {name: number for number, name in enumerate(self.class_names)}

  def todo(self, out: str | os.PathLike) -> list[str]:
    """Names of the shards that are not made yet."""
    return [name for name in self.shards if not done_file(out, name).is_file()]


def make_plan(
  data_set: DataSet,
  annotations: Annotations,
  find: Callable[[Video], str | None],
  treatment: Treatment,
  out: str | os.PathLike,
  shard_bytes: int,
  progress: bool = True,
) -> Plan:
  """Writes the plan to `out`, or finds that the very same one lies there.

  Args:
    data_set: what is prepared.
    annotations: its videos.
    find: the file of a video.
    treatment: of the videos.
    out: the folder to prepare.
    shard_bytes: a shard is closed when its files have so many.
    progress: whether to show a bar.

  Raises:
    FileExistsError: `out` holds another preparation, or something else.
  """
  out = pathlib.Path(out)
  videos = unique(annotations.videos)
  paths = [
    find(v)
    for v in tqdm(videos, 'Matching', unit=' videos', disable=not progress)
  ]
  shards = list(cut(videos, paths, shard_bytes))
  texts = {s.name: json.dumps(dataclasses.asdict(s)) for s in shards}
  content = {
    'data_set': data_set.name,
    'class_names': annotations.class_names,
    'num_roles': max((len(video.roles) for video in videos), default=0),
    'treatment': dataclasses.asdict(treatment),
    'shards': {s.name: sum(p is not None for p in s.paths) for s in shards},
  }
  digest = hashlib.sha256(json.dumps(content).encode())
  for text in texts.values():
    digest.update(text.encode('utf-8', 'surrogateescape'))
  content['digest'] = digest.hexdigest()
  if not is_planned(out, content):
    (out / WORK).mkdir(parents=True)
    for name, text in texts.items():
      write(out / WORK / f'{name}.json', text + '\n')
    # Last: a folder with this file has a whole plan.
    write(out / PLAN, json.dumps(content, indent=1) + '\n')
  return Plan.load(out)


def is_planned(out: pathlib.Path, content: dict) -> bool:
  """Whether the plan in `out` is this one; False if there is none.

  Raises:
    FileExistsError: it is another one, or `out` holds something else.
  """
  if not (out / PLAN).is_file():
    clear(out)
    return False
  there = json.loads((out / PLAN).read_text())
  if there['digest'] == content['digest']:
    return True
  content = json.loads(json.dumps(content))  # Tuples become lists.
  differing = [
    f'{key}: {summary(there[key])} there, {summary(content[key])} now'
    for key in ('data_set', 'class_names', 'treatment', 'shards')
    if there[key] != content[key]
  ]
  raise FileExistsError(
    f'{out} holds another preparation. Differing:\n  '
    + '\n  '.join(differing or ['the videos or their files'])
    + '\nName a new folder, or delete this one.'
  )


def clear(out: pathlib.Path) -> None:
  """Removes a plan that was not finished; refuses anything else."""
  if not out.is_dir():
    return
  strangers = sorted(p.name for p in out.iterdir() if p.name != WORK)
  if strangers:
    raise FileExistsError(
      f'{out} holds something that is not a prepared set: '
      f'{", ".join(strangers[:5])}. Name an empty or a new folder.'
    )
  if (out / WORK).is_dir():
    for pattern in ('*.json', '.*.tmp'):
      for file in (out / WORK).glob(pattern):
        file.unlink()
    (out / WORK).rmdir()


def summary(value) -> str:
  """A value of the plan in few words."""
  if isinstance(value, dict) and all('-of-' in key for key in value):
    return f'{len(value)} shards with {sum(value.values())} files'
  if isinstance(value, list):
    return f'{len(value)} classes ({", ".join(value[:3])}, ...)'
  return str(value)


def unique(videos: Iterable[Video]) -> list[Video]:
  """Leaves out repetitions of a video in a split.

  Raises:
    ValueError: they have different labels.
  """
  first = {}
  for video in videos:
    known = first.setdefault((video.split, video.id, video.start), video)
    if known.label != video.label:
      raise ValueError(
        f'{video.id} is {known.label!r} and {video.label!r} in {video.split}'
      )
  return list(first.values())


def cut(
  videos: list[Video], paths: list[str | None], shard_bytes: int
) -> Iterable[Shard]:
  """Shards of about equal size; each split has one at least."""
  for split in dict.fromkeys(video.split for video in videos):
    pieces, size = [([], [])], 0
    for video, path in zip(videos, paths, strict=True):
      if video.split != split:
        continue
      if size >= shard_bytes:
        pieces.append(([], []))
        size = 0
      pieces[-1][0].append(video)
      pieces[-1][1].append(path)
      size += size_of(path) if path else 0
    for number, (members, files) in enumerate(pieces):
      yield Shard(split, number, len(pieces), members, files)


def size_of(path: str) -> int:
  """Bytes of a file; 0 where it is a link to none, which reading finds out."""
  try:
    return os.path.getsize(path)
  except OSError:
    return 0


def load_shard(out: str | os.PathLike, name: str) -> Shard:
  """The shard of that name in the plan of a folder."""
  text = (pathlib.Path(out) / WORK / f'{name}.json').read_text()
  content = json.loads(text)
  content['videos'] = [
    Video(**(video | {'roles': tuple(video['roles'])}))
    for video in content['videos']
  ]
  return Shard(**content)


def done_file(out: str | os.PathLike, name: str) -> pathlib.Path:
  """The file that is there when a shard is: what became of each video."""
  return pathlib.Path(out) / WORK / f'{name}.done.json'


def write(file: pathlib.Path, text: str) -> None:
  """Writes a file whole or not at all."""
  temporary = file.with_name(f'.{file.name}.{os.getpid()}.tmp')
  temporary.write_text(text, encoding='utf-8')
  temporary.replace(file)
