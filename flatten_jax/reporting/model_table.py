# SPDX-License-Identifier: Apache-2.0
"""The table of models: their input, size and cost, and published weights."""

import tabulate

from flatten_jax import models
from flatten_jax.models import InputSpec
from flatten_jax.runtime.cost import Cost, cost
from flatten_jax.text import did_you_mean

COUNTED = 12  # Models of which the cost is computed, about a second each.


def model_table(pattern: str = '') -> str:
  """Returns the models as text, one in a row.

  Args:
    pattern: of names, as 'video_swin*'; '' for all models.

  Returns:
    Names, clips, published weights and, of at most `COUNTED` models, parameters
    and GFLOPs (10^9 multiply-adds of a view).

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
  table = tabulate.tabulate(rows, headers='keys', tablefmt='simple')
  if counts:
    return table
  return (
    f"{table}\n\nA pattern, as 'uniformer*', shows sizes and costs as well."
  )


def _row(name: str, counts: bool) -> dict[str, str]:
  """Returns the cells of one model."""
  spec = models.input_spec(name)
  cells = {'model': name, 'clip': describe_clip(name, spec)}
  if counts:
    found = _cost(name, spec)
    cells['parameters'] = f'{found.params / 1e6:.1f} M' if found else ''
    cells['GFLOPs'] = f'{found.gflops:.4g}' if found else ''
  return cells | {'published weights': ', '.join(models.MODELS[name].weights)}


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
