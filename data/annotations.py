# SPDX-License-Identifier: Apache-2.0
"""What an annotation reader returns, and what a data set says of itself."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import pathlib
import re

SPLITS = {
  'train': ('train', 'training', 'trainlist'),
  'val': ('val', 'valid', 'validate', 'validation'),
  'test': ('test', 'testing', 'testlist'),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Video:
  """One video that the annotations name, whether or not there is a file.

  Attributes:
    id: unique in its split.
    split: 'train', 'val' or 'test'; 'videos' where it is divided otherwise.
    label: a class name; None where the annotations keep it secret.
    name: what its file is called, with or without folders and suffix.
    start: in seconds, where its file is longer than the video.
    end: in seconds; 0 is the end of the file.
    fold: for cross-validation, where the annotations divide the videos so.
    roles: in each of several published divisions: 0 unused, 1 train, 2 test.
  """

  id: str
  split: str
  label: str | None
  name: str
  start: float = 0.0
  end: float = 0.0
  fold: int | None = None
  roles: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Annotations:
  """All videos of a set; class i of the prepared set is `class_names[i]`.

  Raises:
    ValueError: a name is not UTF-8, or a video's class is not among the names.
  """

  videos: list[Video]
  class_names: tuple[str, ...]

  def __post_init__(self):
    labels = {v.label for v in self.videos if v.label is not None}
    for name in sorted({*self.class_names, *labels}):
      try:
        name.encode()
      except UnicodeEncodeError:
        raise ValueError(
          f'The class name {name!r} is not UTF-8: save the list as UTF-8, or '
          'rename the folder.'
        ) from None
    unknown = sorted(labels - set(self.class_names))
    if unknown:
      raise ValueError(
        f'{len(unknown)} classes of the videos are not among the '
        f'{len(self.class_names)} class names: {", ".join(unknown[:5])}'
      )


@dataclasses.dataclass(frozen=True)
class Sources:
  """Where a reader finds what it reads.

  Attributes:
    annotations: files and folders of files.
    videos: folders.
    class_names: a file that names numbered classes; None where there is none.
    untrimmed: whether files hold more than the annotated part.
  """

  annotations: Sequence[pathlib.Path]
  videos: Sequence[pathlib.Path]
  class_names: pathlib.Path | None = None
  untrimmed: bool = False


@dataclasses.dataclass(frozen=True)
class DataSet:
  """A published set.

  Attributes:
    name: of the prepared set.
    read: from sources to annotations.
    homepage: where it is obtained.
    description: one sentence.
    citation: authors, title, place and year.
    official: videos by split, as the official annotations count them.
    num_classes: 0 where it is not known beforehand.
    notes: what the report should remind of.
    id_length: files are found by so many first characters of their names; 0:
      by all of them.
    by_folder: whether names are paths: a file of that name in another folder is
      another video.
  """

  name: str
  read: Callable[[Sources], Annotations]
  homepage: str
  description: str
  citation: str = ''
  official: Mapping[str, int] = dataclasses.field(default_factory=dict)
  num_classes: int = 0
  notes: tuple[str, ...] = ()
  id_length: int = 0
  by_folder: bool = False


def read_text(file: pathlib.Path) -> str:
  """The file's text with plain line ends and without a byte order mark."""
  raw = file.read_bytes()
  if raw[:2] in (b'\xff\xfe', b'\xfe\xff'):
    text = raw.decode('utf-16')
  else:
    # Odd bytes in a path must come back as the same bytes.
    text = raw.decode('utf-8-sig', errors='surrogateescape')
  return re.sub('\r\n?', '\n', text)


def find_files(sources: Sources, suffixes: Sequence[str]) -> list[pathlib.Path]:
  """Annotation files that are named, or lie in folders that are, sorted."""
  found = []
  for path in sources.annotations:
    if path.is_dir():
      inside = (p for p in path.rglob('*') if p.suffix.lower() in suffixes)
      found += sorted(p for p in inside if not p.name.startswith('.'))
    elif path.is_file():
      found.append(path)
    else:
      raise FileNotFoundError(f'--annotations: there is no {path}')
  if not found:
    raise FileNotFoundError(
      f'No {" or ".join(suffixes)} file in --annotations='
      f'{", ".join(map(str, sources.annotations)) or "(not given)"}'
    )
  return found


def split_of(file: pathlib.Path) -> str | None:
  """The split that a file's name speaks of, like 'k400_val_list_videos.txt'."""
  words = re.findall('[a-z]+', file.stem.lower())
  named = {s for s, names in SPLITS.items() if set(words) & set(names)}
  return named.pop() if len(named) == 1 else None


def split_named(name: str) -> str | None:
  """The split that a cell of a table means."""
  return next(
    (s for s, ns in SPLITS.items() if name.strip().lower() in ns), None
  )


def canonical(name: str) -> str:
  """Equal for class names that write blanks otherwise, or carry quotes."""
  return name.strip().strip('"').replace('_', ' ').strip()


def sorted_names(videos: Sequence[Video]) -> tuple[str, ...]:
  """The names of all classes, in alphabetical order.

  Raises:
    ValueError: two differ in how they write blanks only.
  """
  names = tuple(sorted({v.label for v in videos if v.label is not None}))
  if len({canonical(name) for name in names}) < len(names):
    raise ValueError('Two classes differ in nothing but "_", blanks or quotes.')
  return names
