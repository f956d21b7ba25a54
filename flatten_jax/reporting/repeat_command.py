# SPDX-License-Identifier: Apache-2.0
"""The command that repeats a run, from its config and the name of its file."""

from collections.abc import Collection, Iterator
import inspect
import pathlib
import runpy
import shlex
from typing import Any

from flax import traverse_util
import ml_collections

from flatten_jax.runtime.configuration import default_config, recipes

# They belong to the machines of a run, not to what it computes.
_OF_MACHINES = ('distributed', 'coordinator', 'num_processes', 'process_id')
# Keys that a cross-validation changes from run to run.
_OF_FOLDS = ('seed', 'data.fold')
_LEFT = (None, '', 0, -1, ())  # Values that are chosen elsewhere.
_OPEN = 'configs/folder.py'  # Any run is this one with all of its values.


def lines(
  config: ml_collections.ConfigDict,
  config_file: str,
  name: str,
  overrides: Collection[str] | None = None,
) -> list[str]:
  """Returns the words of a command, those that belong together on a line.

  Every value that differs from what the config file gives now is a flag, so
  that the command is right even if that file has changed. What the file leaves
  to the model, the videos and the device is a flag if it was one. Without a
  file that can be read, the values of configs/folder.py are compared, which
  knows no data set.

  Args:
    config: of the run, resolved.
    config_file: as run.json has it; '' if it is unknown.
    name: of the run.
    overrides: keys that the command gave; None if they are unknown.
  """
  file, given = _given(config_file)
  values = _flat(config)
  if overrides is not None and file == config_file:
    left = {key for key, value in _flat(given).items() if value in _LEFT}
    left -= {*overrides, *_OF_FOLDS}
    values = {key: value for key, value in values.items() if key not in left}
  first = f'python main.py --config={shlex.quote(file)}'
  workdir = shlex.quote(f'runs/{name}_again')
  return [f'{first} --workdir={workdir}', *_flags(values, _flat(given))]


def _flags(values: dict[str, Any], given: dict[str, Any]) -> Iterator[str]:
  for key in sorted(values):
    if key in _OF_MACHINES or key.startswith('mesh.'):
      continue
    if key not in given or given[key] != values[key]:
      yield f'--config.{key}={shlex.quote(str(values[key]))}'


def _given(config_file: str) -> tuple[str, ml_collections.ConfigDict]:
  """Returns a config file, and what it returns."""
  name, colon, arguments = config_file.partition(':')
  root = pathlib.Path(__file__).parents[1]
  for folder in (root, root.parent, pathlib.Path('.')):
    if config_file and (path := folder / name).is_file():
      try:
        make = runpy.run_path(str(path))['get_config']
        takes = bool(inspect.signature(make).parameters)
        return config_file, make(*[arguments] * (takes and bool(colon)))
      except Exception:  # Of the user's own code; it may have moved.
        break
  config = default_config.base()
  recipes.leave_open(config)
  return _OPEN, config


def _flat(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """Returns values by dotted key; lists, as JSON has them, are tuples."""
  flat = traverse_util.flatten_dict(config.to_dict(), sep='.')
  return {key: _tuples(value) for key, value in flat.items()}


def _tuples(value: Any) -> Any:
  if isinstance(value, (list, tuple)):
    return tuple(_tuples(item) for item in value)
  return value
