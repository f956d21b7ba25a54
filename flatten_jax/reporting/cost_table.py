# SPDX-License-Identifier: Apache-2.0
"""The paper's Tables 1, 3 and 4 with our costs next to the published ones."""

import functools
import textwrap
from typing import Any

from flax import nnx
import ml_collections
import tabulate

from flatten_jax.inputs import views
from flatten_jax.models import create_model
from flatten_jax.reporting.paper_tables import (
  NOTES,
  TABLES,
  WITHOUT_NORMS,
  Row,
)
from flatten_jax.runtime import model_factory
from flatten_jax.runtime.configuration import config as configs, recipes
from flatten_jax.runtime.cost import Cost, cost

_WIDTH = 100  # columns
_COUNTED = (
  'GFLOPs are 10^9 multiply-adds of one view; a batch norm counts 2 and a '
  'layer norm 5 for every element. Accuracies are published ones. A model '
  'after + is a second network, whose scores are added. Without norms, as '
  'published and as "differ" compares: '
)


def cost_table(config: ml_collections.ConfigDict | None = None) -> str:
  """Returns the paper's tables as text, and the cost of a config.

  Costs in the tables are ours next to the published ones; the cost of a config
  is that of one view and of its test. Nothing is run and no weights are drawn:
  it takes seconds on any machine.

  Args:
    config: of a run, or None.
  """
  parts, letters = [], {}
  for table in TABLES:
    rows = [_cells(row, table.num_classes, letters) for row in table.rows]
    parts.append(f'{table.title}\n{_format(rows)}')
  notes = [f'{letter}  {NOTES[note]}' for note, letter in letters.items()]
  counted = _COUNTED + ', '.join(_without_norms()) + '.'
  parts.append(
    '\n'.join(
      textwrap.fill(text, _WIDTH, subsequent_indent=indent)
      for text, indent in [(counted, ''), *((note, '   ') for note in notes)]
    )
  )
  if config is not None:
    parts.append(of_config(config))
  return '\n\n'.join(parts)


def _cells(
  row: Row, num_classes: int, letters: dict[str, str]
) -> dict[str, str]:
  """Returns the cells of a row; what is not known is empty.

  Args:
    row: of a table.
    num_classes: of the data set.
    letters: of notes in the order of their use; extended in place.
  """
  found = _cost(row.model, row.frames, row.side, row.options, num_classes)
  no_norms = row.model.startswith(WITHOUT_NORMS)
  counted = found.without_norms if no_norms else found.gflops
  crops, clips = row.views or (0, 0)
  for note in row.notes.split():
    letters.setdefault(note, chr(ord('a') + len(letters)))
  return {
    'model': ('' if row.top1 else '+ ') + row.model + row.label,
    'input': f'{row.frames} x {row.side}',
    'params': f'{found.params / 1e6:.3f} M',
    'GFLOPs': f'{found.gflops:.3f}',
    'published': f'{row.gflops:g}' if row.gflops else '',
    'differ': f'{counted / row.gflops - 1:+.1%}' if row.gflops else '',
    'views': f'x {crops * clips}' if row.views else '',
    'top-1': f'{row.top1:.1f}' if row.top1 else '',
    'top-5': f'{row.top5:.1f}' if row.top5 else '',
    '': ' '.join(letters[note] for note in row.notes.split()),
  }


def _without_norms() -> list[str]:
  """Returns names and costs of rows whose published cost has no norms."""
  found = {
    row.model: _cost(
      row.model, row.frames, row.side, row.options, table.num_classes
    )
    for table in TABLES
    for row in table.rows
    if row.gflops and row.model.startswith(WITHOUT_NORMS)
  }
  return [f'{name} {cost.without_norms:.3f}' for name, cost in found.items()]


@functools.cache
def _cost(
  name: str,
  frames: int,
  side: int,
  options: tuple[tuple[str, Any], ...],
  num_classes: int,
) -> Cost:
  """Returns our cost."""
  create = functools.partial(create_model, name, num_classes, **dict(options))
  return cost(nnx.eval_shape(create), frames, side)


def _format(rows: list[dict[str, str]]) -> str:
  """Returns aligned columns: texts to the left, figures to the right."""
  align = ['left' if name in ('model', '') else 'right' for name in rows[0]]
  text = tabulate.tabulate(
    [list(rows[0]), *(list(row.values()) for row in rows)],
    tablefmt='plain',
    disable_numparse=True,
    colalign=align,
  )
  return '\n'.join(line.rstrip() for line in text.splitlines())


def of_config(config: ml_collections.ConfigDict) -> str:
  """Returns the cost of one view of a run, and of all its test views."""
  config = recipes.typical(configs.complete(config))
  config = configs.fill_and_check(config)
  data = config.data
  test = views.of_config(data)
  frames, side = test.frames, test.resolution
  found = model_factory.cost_of(config, 400, frames, side)
  height, width = model_factory.image_shape(config, side)
  cells = {
    'model': config.model.name,
    'input': f'{frames} x {side}',
    'image': f'{height} x {width}',
    'params': f'{found.params / 1e6:.3f} M',
    'GFLOPs': f'{found.gflops:.3f}',
  }
  return (
    f'This config, with 400 classes\n{_format([cells])}\n'
    f'A test takes {test.crops} crops x {test.clips} clips: '
    f'{found.gflops:.3f} x {test.count} = {found.gflops * test.count:.3f} '
    'GFLOPs.'
  )
