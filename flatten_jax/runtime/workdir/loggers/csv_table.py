# SPDX-License-Identifier: Apache-2.0
"""metrics.csv: a row for each step, a column for each metric."""

from collections.abc import Iterable, Mapping
import csv
import io
import pathlib

from flatten_jax import paths
from flatten_jax.runtime.workdir.loggers.metric_writer import MetricWriter


class CsvWriter(MetricWriter):
  """Keeps the table complete on the disk; a cell without a value is empty.

  A row is added at the end. The table is written again when a metric comes for
  the first time, and when a step gets more values, as a validation does.

  Args:
    path: of the table.
    first_step: rows of later steps are dropped: they are going to be repeated.
    rows: of metrics.jsonl, with 'step', for a table that begins with a resume.
  """

  def __init__(
    self,
    path: pathlib.Path,
    first_step: int = 0,
    rows: Iterable[Mapping[str, float]] = (),
  ):
    self._path = path
    self._rows: dict[int, dict[str, float | str]] = {}
    self._columns = ['step']
    for row in [*rows, *_read(path)]:
      if int(row['step']) <= first_step:
        self._add(int(row['step']), row)
    if self._rows:
      self._write_all()
    else:
      path.unlink(missing_ok=True)

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    """Adds numbers to the row of a step."""
    appends = step not in self._rows and scalars.keys() <= {*self._columns}
    self._add(step, scalars)
    if not appends:
      self._write_all()
      return
    with self._path.open('a', newline='') as file:
      file.write(self._line(self._rows[step]))

  def _add(self, step: int, values: Mapping[str, float | str]) -> None:
    row = self._rows.setdefault(step, {'step': step})
    row.update({k: v for k, v in values.items() if k != 'step'})
    self._columns += [k for k in values if k not in self._columns]

  def _line(self, row: Mapping[str, float | str]) -> str:
    return _line([row.get(name, '') for name in self._columns])

  def _write_all(self) -> None:
    """Writes the table in one piece: an interruption leaves the old one."""
    rows = [self._rows[step] for step in sorted(self._rows)]
    lines = [_line(self._columns), *map(self._line, rows)]
    paths.write_text(self._path, ''.join(lines))


def _line(cells: Iterable[float | str]) -> str:
  text = io.StringIO()
  csv.writer(text, lineterminator='\n').writerow(cells)
  return text.getvalue()


def _read(path: pathlib.Path) -> list[dict[str, str]]:
  """Returns the complete rows of a table, without their empty cells.

  A kill may leave a last row that is not complete.
  """
  if not path.exists():
    return []
  with path.open(newline='') as file:
    rows = [row for row in csv.DictReader(file) if None not in row.values()]
  return [{k: v for k, v in row.items() if v and k} for row in rows]
