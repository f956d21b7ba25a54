# SPDX-License-Identifier: Apache-2.0
"""Whether a checkpoint holds the weights of the model that it is read into."""

import pathlib
from typing import Any

from flax import traverse_util


def check_state_shapes(
  theirs: dict[str, Any], ours: dict[str, Any], place: pathlib.Path
) -> None:
  """Compares names and shapes, before any array is read.

  Orbax would start to read all of them, and report each to nobody.

  Args:
    theirs: state of a checkpoint, or what describes its arrays.
    ours: the state to fill, likewise.
    place: of the checkpoint, for the message.

  Raises:
    ValueError: weights differ; the first of them are listed.
  """
  theirs, ours = shapes(theirs), shapes(ours)
  differing = [
    f'  {name}: {theirs.get(name, "absent")} there, '
    f'{ours.get(name, "absent")} here'
    for name in sorted(theirs.keys() | ours.keys())
    if theirs.get(name) != ours.get(name)
  ]
  if differing:
    lines = '\n'.join(differing[:10])
    raise ValueError(
      f'{place} holds another model:\n{lines}\nTrain with the code that it was '
      'made by, or use a new --workdir.'
    )


def shapes(state: dict[str, Any]) -> dict[str, tuple[int, ...]]:
  """{'params.head.bias': (400,)}: the weights of a state."""
  weights = {key: state.get(key) or {} for key in ('params', 'batch_stats')}
  return {
    '.'.join(map(str, path)): tuple(leaf.shape)
    for path, leaf in traverse_util.flatten_dict(weights).items()
  }
