# SPDX-License-Identifier: Apache-2.0
"""Cost of every row of the paper's Table 1, next to the paper's numbers."""

import dataclasses
import functools

from flax import nnx
import ml_collections
import tabulate

from flatten_jax import flattening
from flatten_jax.inputs import views
from flatten_jax.models import create_model
from flatten_jax.runtime import config as configs, model_factory
from flatten_jax.runtime.cost import Cost, cost


@dataclasses.dataclass(frozen=True)
class PaperRow:
  """A model at one input size; `gflops` are those of the paper's Table 1."""

  name: str
  frames: int
  resolution: int
  gflops: float
  options: tuple[tuple[str, int], ...] = ()


PAPER = (
  PaperRow('uniformer3d_xxs', 8, 160, 3.3),
  PaperRow('uniformer3d_xxs', 16, 160, 6.9),
  PaperRow('uniformer_xxs', 9, 160, 10.5),
  PaperRow('uniformer_xxs', 16, 160, 22.9),
  PaperRow('uniformer3d_s', 8, 224, 17.6),
  PaperRow('uniformer3d_s', 16, 224, 41.8),
  PaperRow('uniformer_s', 9, 224, 47.5),
  PaperRow('uniformer_s', 16, 224, 107.3),
  PaperRow('swinv2_t', 16, 192, 70.9, (('window', 24),)),
  PaperRow('resnet101', 16, 224, 125.0),
)

_NOTES = """\
GFLOPs are 10^9 multiply-adds of one view of one clip, with 400 classes; a batch
norm counts 2 and a layer norm 5 for every element. (The paper repeats 3.3 from
UniFormer's README, whose authors appear to count a batch norm as 5.)"""


def cost_table(config: ml_collections.ConfigDict | None = None) -> str:
  """Returns Table 1's costs as text, and those of a config with its test views.

  Nothing is run and no weights are drawn: it takes seconds on any machine.

  Args:
    config: of a run, or None.
  """
  own = '' if config is None else f'\n\n{_of_config(config)}'
  rows = []
  for row in PAPER:
    options = dict(row.options)
    create = functools.partial(create_model, row.name, **options)
    label = row.name + ''.join(f', {k} {v}' for k, v in options.items())
    size = row.frames, row.resolution
    model = nnx.eval_shape(create)
    rows.append(_row(label, model, size, cost(model, *size), row.gflops))
  return f'{_format(rows)}\n\n{_NOTES}{own}'


def _row(
  label: str,
  model: nnx.Module,
  size: tuple[int, int],
  found: Cost,
  paper: float | None = None,
  grid: tuple[int, int] = (),
) -> dict[str, str]:
  """Returns the cells; `size` is the number of frames and their side in px."""
  frames, side = size
  rows, columns = 1, 1
  if not getattr(type(model), 'takes_clips', False):
    rows, columns = flattening.grid_shape(frames, grid or None)
  return {
    'model': label,
    'frames': str(frames),
    'image': f'{rows * side} x {columns * side}',
    'GFLOPs': f'{found.gflops:.3f}',
    'paper': f'{paper:g}' if paper else '',
    'differ': f'{found.gflops / paper - 1:+.1%}' if paper else '',
    'params': f'{found.params / 1e6:.3f} M',
  }


def _format(rows: list[dict[str, str]]) -> str:
  align = ['left'] + ['right'] * (len(rows[0]) - 1)
  return tabulate.tabulate(
    rows, 'keys', 'plain', disable_numparse=True, colalign=align
  )


def _of_config(config: ml_collections.ConfigDict) -> str:
  """Returns the cost of one view of a run, and of all its test views."""
  config = configs.fill_and_check(configs.complete(config))
  data, grid = config.data, tuple(config.grid)
  model = nnx.eval_shape(
    lambda: model_factory.build_model(config, num_classes=400)
  )
  size = data.num_frames, data.crop
  found = cost(model, *size, config.flatten, grid=grid or None)
  row = _row(config.model.name, model, size, found, grid=grid)
  test = views.of_config(data)
  return (
    f'This config\n{_format([row])}\n'
    f'A test takes {test.crops} crops x {test.clips} clips: '
    f'{found.gflops:.3f} x {test.count} = {found.gflops * test.count:.3f} '
    'GFLOPs.'
  )
