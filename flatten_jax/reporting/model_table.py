# SPDX-License-Identifier: Apache-2.0
"""The table of models: their input, size and cost, and published weights."""

import math

import tabulate

from flatten_jax import models
from flatten_jax.models import InputSpec
from flatten_jax.runtime.cost import Cost, cost
from flatten_jax.text import did_you_mean

COUNTED = 12  # Models of which the cost is computed, about a second each.
WIDTH = 120  # Of the table.
# Machines to train on, and the most GFLOPs of a view; see `machine`.
MACHINES = ((1, 'CPU'), (100, 'one GPU'), (math.inf, 'several GPUs'))


def model_table(pattern: str = '') -> str:
  """Returns the models as text, one in a row.

  Args:
    pattern: of names, as 'video_swin*'; '' for all models.

  Returns:
    Names, clips, published weights and, of at most `COUNTED` models,
    parameters, GFLOPs (10^9 multiply-adds of a view) and the machine to train
    on, see `machine`.

  Raises:
    ValueError: no model has such a name.
  """
  names = [
    name for name in models.list_models(pattern) if not name.endswith('_test')
  ]
  if not names:
    raise ValueError(
      f'There is no model {pattern!r}.'
      f'{did_you_mean(pattern, models.list_models())}'
    )
  counts = len(names) <= COUNTED
  rows = [_row(name, counts) for name in names]
  # The last column is wrapped to the width that the others leave.
  others = [dict(list(row.items())[:-1]) for row in rows]
  left = WIDTH - 2 - len(_text(others).splitlines()[1])
  table = _text(rows, maxcolwidths=[None] * len(others[0]) + [left])
  note = "A pattern, as 'uniformer*', shows sizes, costs and machines as well."
  if counts:
    (small, _), (medium, _), _ = MACHINES
    note = (
      f'Machine to train on, by GFLOPs: up to {small} a CPU, up to {medium} '
      'one GPU, above several. Not measured.'
    )
  return f'{table}\n\n{note}'


def _text(rows: list[dict[str, str]], **options) -> str:
  return tabulate.tabulate(rows, headers='keys', tablefmt='simple', **options)


def _row(name: str, counts: bool) -> dict[str, str]:
  """Returns the cells of one model."""
  spec = models.input_spec(name)
  cells = {'model': name, 'clip': describe_clip(name, spec)}
  if counts:
    found = _cost(name, spec)
    cells['parameters'] = f'{found.params / 1e6:.1f} M' if found else ''
    cells['GFLOPs'] = f'{found.gflops:.4g}' if found else ''
    cells['machine'] = machine(found.gflops) if found else ''
  return cells | {'published weights': ', '.join(models.MODELS[name].weights)}


def machine(gflops: float) -> str:
  """Returns what machine a model can be trained on, by the cost of a view.

  A rule of ours. A training step costs six operations for each multiply-add: at
  1 GFLOPs a core trains on several clips a second, and at 100 GFLOPs a GPU that
  does 3e13 operations a second trains on 240 000 clips (Kinetics-400) for 100
  epochs in about six days. Smaller clips and data sets need less.
  """
  return next(name for limit, name in MACHINES if gflops <= limit)


def describe_clip(name: str, spec: InputSpec) -> str:
  """Returns '16 x 224 px', and what else is known of a model's clips."""
  how = 'as a clip' if models.takes_clips(name) else 'flattened'
  return f'{spec.num_frames} x {spec.crop} px {spec.input}, {how}'


def _cost(name: str, spec: InputSpec) -> Cost | None:
  """Returns the cost of the clips that a model expects, if it takes them."""
  try:
    return cost(name, spec.num_frames, spec.crop)
  except ValueError:  # The clips of its config are others.
    return None
