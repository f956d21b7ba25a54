# SPDX-License-Identifier: Apache-2.0
"""Plans which video goes into which shard, before any is read.

The plan is in the prepared folder, with a file for each shard. A process, or
another machine, needs no more than the name of a shard to make it; and an
interrupted preparation can be resumed.
"""

from collections.abc import Callable, Iterable
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil

from data.annotations import Annotations, DataSet, Video
from data.media import Treatment
from flatten_jax.inputs.sources.folders import log_frames
from flatten_jax.inputs.video.frame_files.frame_folder import FramesPath
from flatten_jax.paths import write_text
from flatten_jax.progress import Progress

PLAN, WORK, FINISHED = 'plan.json', 'shards_to_make', 'prepared.json'
MISSING = 'missing'


@dataclasses.dataclass(frozen=True)
class Shard:
  """The content of one file of the prepared set.

  Attributes:
    split: of the videos.
    number: of the shard among the `count` of its split.
    count: see there.
    videos: in the order of the annotations, including missing ones.
    paths: their files or folders of frames; None for missing ones.
  """

  split: str
  number: int
  count: int
  videos: list[Video]
  paths: list[str | FramesPath | None]

  def to_json(self) -> str:
    """Converts the shard to a line; what `find` took over is left out."""
    content = dataclasses.asdict(self)
    for video in content['videos']:
      for key in ('skip', 'num_frames', 'fps'):
        del video[key]
      if not video['group']:  # As in plans of earlier versions.
        del video['group'], video['group_column']
      if not video['weight']:
        del video['weight']
      if video['labels'] is None:  # Likewise.
        del video['labels']
    return json.dumps(content)

  @property
  def name(self) -> str:
    """Name of the shard in the plan."""
    return f'{self.split}-{self.number:05d}-of-{self.count:05d}'


@dataclasses.dataclass(frozen=True)
class Plan:
  """The settings that all shards share.

  Attributes:
    data_set: its name.
    class_names: class i is `class_names[i]`.
    num_roles: length of `Video.roles`.
    treatment: of the videos.
    shards: {name: number of its videos with a file}.
    digest: of everything that decides what will be written.
    multi_label: whether a video may have several labels.
  """

  data_set: str
  class_names: tuple[str, ...]
  num_roles: int
  treatment: Treatment
  shards: dict[str, int]
  digest: str
  multi_label: bool = False

  @classmethod
  def load(cls, out: str | os.PathLike) -> 'Plan':
    """Loads the plan in a folder."""
    content = json.loads((pathlib.Path(out) / PLAN).read_text())
    content['treatment'] = Treatment(**content['treatment'])
    content['class_names'] = tuple(content['class_names'])
    return cls(**content)

  def todo(self, out: str | os.PathLike) -> list[str]:
    """Returns the names of the shards that are not made yet."""
    return [name for name in self.shards if not done_file(out, name).is_file()]


def make_plan(
  data_set: DataSet,
  annotations: Annotations,
  find: Callable[[Video], str | FramesPath | None],
  treatment: Treatment,
  out: str | os.PathLike,
  shard_bytes: int,
  progress: bool = True,
) -> Plan:
  """Writes the plan to `out`, or finds that it holds the same one.

  Args:
    data_set: to prepare.
    annotations: its videos.
    find: returns the file of a video.
    treatment: of the videos.
    out: the folder to prepare.
    shard_bytes: a shard is closed when its files reach this size.
    progress: shows a bar.

  Raises:
    FileExistsError: `out` holds another preparation, or something else.
  """
  out = pathlib.Path(out)
  videos = unique(annotations.videos)
  paths = [
    find(v)
    for v in Progress('Matching', 'videos', videos, disable=not progress)
  ]
  log_frames(path for path in paths if path)
  shards = list(cut(videos, paths, shard_bytes))
  texts = {s.name: s.to_json() for s in shards}
  content = {
    'data_set': data_set.name,
    'class_names': annotations.class_names,
    'num_roles': max((len(video.roles) for video in videos), default=0),
    'treatment': dataclasses.asdict(treatment),
    'shards': {s.name: sum(p is not None for p in s.paths) for s in shards},
  }
  if any(video.labels is not None for video in videos):
    content['multi_label'] = True
  digest = hashlib.sha256(json.dumps(content).encode())
  for text in texts.values():
    digest.update(text.encode('utf-8', 'surrogateescape'))
  content['digest'] = digest.hexdigest()
  if (out / PLAN).is_file():
    refuse_other(out, content)
  else:
    clear(out)
    (out / WORK).mkdir(parents=True)
    for name, text in texts.items():
      write_text(out / WORK / f'{name}.json', text + '\n')
    # Last: a folder with this file has a whole plan.
    write_text(out / PLAN, json.dumps(content, indent=1) + '\n')
  return Plan.load(out)


def check_finished(
  out: pathlib.Path, data_set: DataSet, treatment: Treatment
) -> None:
  """Raises FileExistsError if the set in `out` was prepared otherwise."""
  found = json.loads((out / PLAN).read_text())
  asked = {'data_set': data_set.name}
  asked['treatment'] = dataclasses.asdict(treatment)
  if found != found | asked:
    refuse_other(out, found | asked | {'digest': ''})


def refuse_other(out: pathlib.Path, content: dict) -> None:
  """Raises FileExistsError if the plan in `out` is another one."""
  found = json.loads((out / PLAN).read_text())
  if found['digest'] == content['digest']:
    return
  old, new = summary(found), summary(content)
  differing = [
    f'{key}: {old[key]} there, {new[key]} now'
    for key in old
    if old[key] != new[key]
  ]
  raise FileExistsError(
    f'{out} holds another preparation. Differing:\n  '
    + '\n  '.join(differing or ['the videos or their files'])
    + '\nName a new folder, or delete this one.'
  )


def summary(content: dict) -> dict[str, str]:
  """Describes a plan in a few words."""
  names, shards = content['class_names'], content['shards']
  return {
    'data_set': content['data_set'],
    'class_names': f'{len(names)} classes ({", ".join(names[:3])}, ...)',
    'treatment': str(content['treatment']),
    'shards': f'{len(shards)} shards with {sum(shards.values())} files',
  }


def clear(out: pathlib.Path) -> None:
  """Removes an unfinished plan; refuses a folder with anything else."""
  if not out.is_dir():
    return
  strangers = sorted(p.name for p in out.iterdir() if p.name != WORK)
  if strangers:
    raise FileExistsError(
      f'{out} holds something that is not a prepared set: '
      f'{", ".join(strangers[:5])}. Name an empty or a new folder.'
    )
  shutil.rmtree(out / WORK, ignore_errors=True)


def unique(videos: Iterable[Video]) -> list[Video]:
  """Leaves out repetitions of a video in a split.

  Raises:
    ValueError: they have different labels.
  """
  first = {}
  for video in videos:
    part = video.start, video.end, video.skip, video.num_frames
    key = video.split, video.id, *part
    known = first.setdefault(key, video)
    if (known.label, known.labels) != (video.label, video.labels):
      raise ValueError(
        f'{video.id} is {";".join(known.classes)!r} and '
        f'{";".join(video.classes)!r} in {video.split}'
      )
  return list(first.values())


def cut(
  videos: list[Video], paths: list[str | FramesPath | None], shard_bytes: int
) -> Iterable[Shard]:
  """Yields shards of about equal size, at least one for each split."""
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


def size_of(path: str | FramesPath) -> int:
  """Returns a file's size in bytes; 0 for a broken link."""
  try:
    if os.path.isdir(path):  # Frames, of about the same size.
      files = [entry for entry in os.scandir(path) if entry.is_file()]
      return len(files) * files[0].stat().st_size if files else 0
    return os.path.getsize(path)
  except OSError:
    return 0


def load_shard(out: str | os.PathLike, name: str) -> Shard:
  """Loads the shard of that name from the plan of a folder."""
  text = (pathlib.Path(out) / WORK / f'{name}.json').read_text()
  content = json.loads(text)
  content['videos'] = [
    Video(
      **{k: tuple(x) if isinstance(x, list) else x for k, x in video.items()}
    )
    for video in content['videos']
  ]
  content['paths'] = [
    FramesPath(**path) if isinstance(path, dict) else path
    for path in content['paths']
  ]
  return Shard(**content)


def done_file(out: str | os.PathLike, name: str) -> pathlib.Path:
  """Path of the file with a shard's outcomes; it exists if the shard does."""
  return pathlib.Path(out) / WORK / f'{name}.done.json'
