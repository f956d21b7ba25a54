# SPDX-License-Identifier: Apache-2.0
"""What every row of the paper's Table 1 costs, beside what the paper says."""

import dataclasses

from flax import nnx
import ml_collections

from flatten_jax import flattening
from flatten_jax.inputs import views
from flatten_jax.models import create_model
from flatten_jax.runtime import model_factory
from flatten_jax.runtime.cost import Cost, cost


@dataclasses.dataclass(frozen=True)
class Row:
  """A model at one size; `paper` is its GFLOPs in the paper's Table 1."""

  name: str
  frames: int
  resolution: int
  paper: float
  options: tuple[tuple[str, int], ...] = ()


PAPER = (
  Row('uniformer3d_xxs', 8, 160, 3.3),
  Row('uniformer3d_xxs', 16, 160, 6.9),
  Row('uniformer_xxs', 9, 160, 10.5),
  Row('uniformer_xxs', 16, 160, 22.9),
  Row('uniformer3d_s', 8, 224, 17.6),
  Row('uniformer3d_s', 16, 224, 41.8),
  Row('uniformer_s', 9, 224, 47.5),
  Row('uniformer_s', 16, 224, 107.3),
  Row('swinv2_t', 16, 192, 70.9, (('window', 24),)),
  Row('resnet101', 16, 224, 125.0),
)
_COLUMNS = '{:28} {:>9} {:>10} {:>9} {:>7} {:>8} {:>9}'

_NOTES = """\
GFLOPs are 10^9 multiply-adds of one view of one clip, with 400 classes; a batch
norm counts 2 and a layer norm 5 for every element. (The paper repeats 3.3 from
UniFormer's README, whose authors appear to count a batch norm as 5.)"""


def cost_table(config: ml_collections.ConfigDict | None = None) -> str:
  """Table 1's costs as text; and a config's own, with all of its test views.

  Nothing is run, and no weights are drawn: it takes seconds on any machine.

  Args:
    config: of a run, or None.
  """
  lines = [
    _COLUMNS.format(
      'model', 'frames', 'image', 'GFLOPs', 'paper', 'differ', 'params'
    )
  ]
  for row in PAPER:
    options = dict(row.options)
    model = nnx.eval_shape(
      lambda row=row, options=options: create_model(row.name, **options)
    )
    found = cost(model, row.frames, row.resolution)
    label = row.name + ''.join(f', {k} {v}' for k, v in options.items())
    image = _image(model, row.frames, row.resolution)
    lines.append(_line(label, row.frames, image, found, row.paper))
  lines += ['', _NOTES]
  if config is not None:
    lines += ['', 'This config', lines[0], *_of_config(config)]
  return '\n'.join(lines)


def _line(
  label: str, frames: int, image: str, found: Cost, paper: float | None = None
) -> str:
  return _COLUMNS.format(
    label,
    frames,
    image,
    f'{found.gflops:.3f}',
    '' if paper is None else f'{paper:g}',
    '' if paper is None else f'{found.gflops / paper - 1:+.1%}',
    f'{found.params / 1e6:.3f} M',
  )


def _image(
  model: nnx.Module, frames: int, resolution: int, grid: tuple[int, int] = ()
) -> str:
  """What the model sees, in pixels: a mosaic, or frame by frame."""
  if getattr(type(model), 'takes_clips', False):
    return f'{resolution} x {resolution}'
  rows, columns = flattening.grid_shape(frames, grid or None)
  return f'{rows * resolution} x {columns * resolution}'


def _of_config(config: ml_collections.ConfigDict) -> list[str]:
  """A line on one view of a run, and one on all of its test views."""
  data, grid = config.data, tuple(config.grid)
  model = nnx.eval_shape(
    lambda: model_factory.build_model(config, num_classes=400)
  )
  found = cost(
    model, data.num_frames, data.crop, config.flatten, grid=grid or None
  )
  image = _image(model, data.num_frames, data.crop, grid)
  test = views.of_config(data)
  return [
    _line(config.model.name, data.num_frames, image, found),
    f'A test takes {test.crops} crops x {test.clips} clips: '
    f'{found.gflops:.3f} x {test.count} = {found.gflops * test.count:.3f} '
    'GFLOPs.',
  ]
