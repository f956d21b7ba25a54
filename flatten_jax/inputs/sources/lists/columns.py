# SPDX-License-Identifier: Apache-2.0
"""Column names of video lists, and parsers for their fields."""

from collections.abc import Iterable, Iterator, Mapping
import csv
import fractions
import functools
import math
import re

from flatten_jax.inputs.sources.rows import UNKNOWN

# Cells may hold key points or whole texts; csv would refuse 128 KiB.
csv.field_size_limit(2**31 - 1)

PATH_COLUMNS = (
  *('path', 'video_path', 'clip_path', 'file_path', 'filepath', 'videopath'),
  *('file_name', 'filename', 'file', 'video_file', 'video', 'clip'),
  *('video_name', 'videoname', 'clip_name', 'clipname', 'vid_name', 'vid'),
  *('video_id', 'clip_id', 'vid_id', 'youtube_id', 'name', 'id'),
)
LABEL_COLUMNS = (
  *('template', 'label', 'class', 'label_name', 'class_name', 'classname'),
  *('labels', 'action', 'action_name', 'action_label', 'activity', 'actions'),
  *('category', 'category_name', 'verb', 'label_index', 'label_id'),
  *('class_index', 'class_id', 'classid', 'category_id', 'action_id', 'target'),
)
FOLD_COLUMNS = ('fold', 'folds', 'kfold', 'k_fold', 'cv_fold', 'fold_id')
# Columns of persons, places or recordings, which the videos of a group share.
GROUPS = (
  *('group', 'subject', 'subj', 'person', 'speaker', 'actor', 'performer'),
  *('participant', 'patient', 'signer', 'user', 'player', 'athlete'),
  *('volunteer', 'identity', 'scene', 'place', 'location', 'site', 'room'),
  *('camera', 'cam', 'session', 'recording', 'source_video'),
  *('original_video', 'src_video', 'parent_video', 'video_group', 'source'),
  *('youtube', 'ytid'),
)
GROUP_COLUMNS = tuple(
  name + end
  for name in GROUPS
  for end in ('', '_id', 'id', '_name', '_no', '_nr', '_number', '_index')
)
SPLIT_COLUMNS = ('split', 'subset', 'partition', 'set', 'phase', 'usage')
COUNT_COLUMNS = (
  *('num_frames', 'total_frames', 'frame_count', 'n_frames', 'nframes'),
  *('numframes', 'frames_count', 'number_of_frames', 'frames'),
)
FPS_COLUMNS = ('fps', 'frame_rate', 'video_fps')
KINETICS_COLUMNS = ('youtube_id', 'time_start', 'time_end')

TIMES = {
  'start': ('start', 'begin', 'beginning', 'from', 'onset', 'tstart'),
  'end': ('end', 'stop', 'finish', 'to', 'until', 'tend'),
  'duration': ('duration', 'dur', 'length'),
}
SECONDS = {
  **dict.fromkeys(('', 's', 'sec', 'secs', 'second', 'seconds'), 1.0),
  **dict.fromkeys(('ms', 'msec', 'millisecond', 'milliseconds'), 1e-3),
  **dict.fromkeys(('us', 'microsecond', 'microseconds'), 1e-6),
  **dict.fromkeys(('m', 'min', 'mins', 'minute', 'minutes'), 60.0),
  **dict.fromkeys(('frame', 'frames', 'f', 'idx', 'index'), math.nan),
}
# Words between, before and after those of TIMES that change no meaning.
FILLERS = frozenset(
  {'time', 'times', 'timestamp', 'stamp', 't', 'in', 'at', 'clip', 'action'}
  | {'segment', 'seg', 'trim', 'temporal'}
)
# Words of columns of times and splits.
SUSPECTS = frozenset(
  {'time', 'times', 'timestamp', 'timestamps', 'segment', 'segments', 'trim'}
  | {'interval', 'offset', 't0', 't1', 't2', 'tmin', 'tmax', 'onset', 'start'}
  | {'end', 'stop', 'begin', 'from', 'duration', 'split', 'splits', 'subset'}
  | {'partition', 'fold', 'train', 'val', 'test'}
)
HEADER = frozenset(
  {*PATH_COLUMNS, *LABEL_COLUMNS, *FOLD_COLUMNS, *SPLIT_COLUMNS}
  | {*GROUP_COLUMNS, *COUNT_COLUMNS, *FPS_COLUMNS, *KINETICS_COLUMNS, *TIMES}
)


def column_name(text: str) -> str:
  """Returns a column's name in lower case, its words joined by '_'."""
  text = re.sub(r'(?<=[a-z])(?=[A-Z])', '_', text.strip())
  return re.sub(r'[\W_]+', '_', text.lower()).strip('_')


def words(name: str) -> list[str]:
  """Returns the words of a column's name; 'starttime' has two."""
  known = '|'.join((*TIMES['start'], *TIMES['end']))
  pattern = rf'(?<![a-z])(time)?({known})(time|sec|ms|frame)?(?![a-z])'
  parts = re.sub(pattern, lambda m: '_'.join(filter(None, m.groups())), name)
  return parts.split('_')


@functools.cache
def time_column(name: str) -> tuple[str, float] | None:
  """Returns 'start', 'end' or 'duration' and its unit in seconds.

  The unit of frames is nan. None: the column is none of the three.
  """
  rest = [word for word in words(name) if word not in FILLERS]
  kinds = [k for k, names in TIMES.items() for w in rest if w in names]
  units = [word for word in rest if word in SECONDS]
  if 'video' in rest and kinds != ['duration']:  # Which is the file's.
    rest.remove('video')
  if len(kinds) != 1 or len(units) > 1 or len(rest) > 1 + len(units):
    return None
  return kinds[0], SECONDS[units[0] if units else '']


def is_suspect(name: str) -> bool:
  """Checks whether a column that is not read looks like times or a split."""
  found = {word for text in words(name) for word in (text, text.rstrip('1234'))}
  return name in SPLIT_COLUMNS or bool(SUSPECTS & found)


def known_cell(text: str | None) -> str:
  """Returns a cell; '' for what programs write into an empty one, like nan."""
  text = (text or '').strip()
  return '' if text.lower() in UNKNOWN - {'-1'} else text


def kinetics_name(row: Mapping[str, str]) -> str:
  """Returns the name of a trimmed Kinetics video, without suffix."""
  name, *times = KINETICS_COLUMNS
  start, end = (int(parse_seconds(row[time], time)) for time in times)
  if not all(row[time] for time in times):
    raise ValueError(f'expected two times, got {dict(row)}')
  return f'{row[name]}_{start:06d}_{end:06d}'


CLOCK = re.compile(
  r'(?:(?:(\d+):)?([0-5]?\d):)?(\d+(?:[.,]\d*)?(?:e[+-]?\d+)?|[.,]\d+) ?s?',
  re.IGNORECASE,
)


def parse_seconds(text: str | None, column: str, unit: float = 1.0) -> float:
  """Parses a time, in `unit` seconds or like 1:02:03.5; an empty field is 0."""
  text = (text or '').strip()
  if not text:
    return 0.0
  match = CLOCK.fullmatch(text)
  seconds = float(match[3].replace(',', '.')) if match else 0.0
  if not match or (match[2] and seconds >= 60):
    raise ValueError(
      f'expected seconds as {column}, like 1.5 or 0:01.5, not {text!r}'
    )
  if match[2]:
    return int(match[1] or 0) * 3600 + int(match[2]) * 60 + seconds
  return seconds * unit


def parse_int(text: str | None, column: str) -> int | None:
  """Parses an integer, which pandas writes as 0.0; an empty field is None."""
  if not text:
    return None
  if not re.fullmatch(r'-?\d+(\.0*)?', text):
    raise ValueError(f'expected a whole number as {column}, not {text!r}')
  return int(float(text))


def parse_fps(text: str | None, column: str) -> float:
  """Parses a frame rate, like 25 or 30000/1001; an empty field is 0."""
  try:
    value = float(fractions.Fraction(text.replace(' ', ''))) if text else 0.0
  except (ValueError, ZeroDivisionError):
    value = math.nan
  if not 0 <= value <= 1000:
    raise ValueError(f'expected frames a second as {column}, not {text!r}')
  return value


def split_row(line: str, separator: str) -> list[str]:
  """Splits a line into fields; quotes protect separators."""
  row = csv.reader(
    [line.strip(' ')], delimiter=separator, skipinitialspace=True
  )
  return _bare(next(row))


def split_rows(
  numbered: Iterable[tuple[int, str]], separator: str
) -> Iterator[tuple[int, list[str]]]:
  """Splits lines into rows, whose quoted fields may hold line ends.

  Yields:
    The number of the first line of each row, and its fields.

  Raises:
    csv.Error: a quote is not closed, or closed within a field.
  """
  numbers = []

  def lines() -> Iterator[str]:
    for number, line in numbered:
      numbers.append(number)
      yield line.strip(' ') + '\n'

  for row in csv.reader(
    lines(), delimiter=separator, skipinitialspace=True, strict=True
  ):
    yield numbers[0], _bare(row)
    numbers.clear()


def _bare(fields: list[str]) -> list[str]:
  """Returns fields without blanks and single quotes around them."""
  fields = [field.strip() for field in fields]
  return [f[1:-1] if f[:1] == "'" == f[-1:] != f else f for f in fields]
