# SPDX-License-Identifier: Apache-2.0
"""config.json of a model that leaves its machine: what it says, what is read.

It may come from anybody. So the keys that name paths, addresses or code, and
those of machines, are neither written nor read.
"""

from collections.abc import Iterator, Mapping
import contextlib
import json
import math
import pathlib
from typing import Any

from flax import traverse_util

from flatten_jax import hub, importing
from flatten_jax.models.weights import file_formats
from flatten_jax.runtime.configuration import (
  config_keys,
  config_rules,
)

LIBRARY = 'flatten_jax'  # The `library_name` in config.json.
# Texts that are no paths: `config_rules` and the model check what they are.
_CHECKED_TEXTS = ('data.randaugment', 'data.views', 'model.name')
# They belong to the machine or to the run, not to the model.
LEFT_OUT = (
  'distributed',
  'fsdp_min_size',
  'join_timeout',
  'keep_last',
  'log_every',
  'loggers',
  'mesh.data',
  'mesh.model',
  'num_processes',
  'order_report',
  'process_id',
  'recipe',  # All that it chose has its value.
  'save_every',
  'sharding',
  'test_checkpoint',
  'data.frame_cache_gib',
  'data.threads',
  'data.time_limit',
  'data.workers',
)


def is_model(folder: pathlib.Path) -> bool:
  """Returns whether a folder has a config.json of this package."""
  try:
    described = json.loads((folder / hub.CONFIG).read_text(encoding='utf-8'))
    return described.get('library_name') == LIBRARY
  except (OSError, ValueError, AttributeError):
    return False


def keep(config: Mapping[str, Any]) -> dict[str, Any]:
  """Returns what a model takes along of a config: dotted keys of today."""
  values = traverse_util.flatten_dict(dict(config), sep='.')
  return {
    key: value
    for key, value in config_keys.translate(values).items()
    if key not in LEFT_OUT
    and (key in _CHECKED_TEXTS or not config_rules.is_free_text(key))
  }


def check_names(config: Mapping[str, Any]) -> None:
  """Refuses a model or a layout that is code of somebody, before it is run.

  Args:
    config: flat.

  Raises:
    ValueError: its name is 'package.module:function'.
  """
  for key in ('model.name', 'flatten'):
    if importing.is_path(config.get(key)):
      raise ValueError(
        f'config.{key}={config[key]!r} is code of your own, which a folder of '
        'weights does not contain, and which is never imported for one. '
        'Models and layouts of this package can be pushed.'
      )


def write(
  folder: pathlib.Path,
  class_names: tuple[str, ...],
  config: Mapping[str, Any],
  **others: Any,
) -> None:
  """Writes config.json.

  Args:
    folder: of the model.
    class_names: in the order of the model's outputs.
    config: resolved; `keep` chooses from it.
    **others: entries besides, JSON.

  Raises:
    ValueError: the model or its layout is code of somebody.
  """
  kept = keep(config)
  check_names(kept)
  described = {
    'library_name': LIBRARY,
    'architecture': kept['model.name'],
    'id2label': {str(i): name for i, name in enumerate(class_names)},
    **others,
    'format': config_keys.FORMAT,
    'config': {key: kept[key] for key in sorted(kept)},
  }
  text = json.dumps(described, indent=2, ensure_ascii=False) + '\n'
  # Class names may contain bytes that are not UTF-8.
  data = text.encode('utf-8', 'backslashreplace')
  (folder / hub.CONFIG).write_bytes(data)


def read_file(path: pathlib.Path) -> dict[str, Any] | None:
  """Reads what `--mode=export` wrote into the header of a file of weights.

  Args:
    path: of a file, or of a folder with one.

  Returns:
    'class_names' and 'config' as `read`; None of another file.

  Raises:
    ValueError: what it says is wrong.
  """
  text = file_formats.read_metadata(path).get(LIBRARY)
  if text is None:
    return None
  with naming(path):
    try:
      described = json.loads(text)
      class_names = tuple(map(str, described['class_names']))
      config = keep(described['config'])
    except (ValueError, KeyError, TypeError) as error:
      raise ValueError(
        f'the header does not describe a model of flatten_jax: {error!r}.'
      ) from error
    check_names(config)
  return {'class_names': class_names, 'config': config}


def read(folder: pathlib.Path) -> dict[str, Any]:
  """Reads config.json, whose values are not checked yet.

  Returns:
    As a checkpoint's metadata: 'class_names', 'config' (flat, of `keep`),
    'format'; and 'step' and 'thresholds'.

  Raises:
    ValueError: an entry is missing, or not what it should be.
  """
  path = folder / hub.CONFIG
  with naming(path):
    return _described(path)


@contextlib.contextmanager
def naming(path: pathlib.Path) -> Iterator[None]:
  """Names the file in the error about what it says."""
  try:
    yield
  except (ValueError, TypeError) as error:
    raise ValueError(f'{path}: {error}') from error


def _described(path: pathlib.Path) -> dict[str, Any]:
  """Reads a config.json, see `read`."""
  try:
    described = json.loads(path.read_text(encoding='utf-8'))
    names = described['id2label']
    class_names = tuple(names[str(i)] for i in range(len(names)))
    thresholds = tuple(float(x) for x in described.get('thresholds', ()))
    found = {
      'class_names': class_names,
      # Which earlier checkpoints lack, and which is another value there.
      'config': keep(described['config']) | {'data.group': ''},
      'format': int(described['format']),
      'step': int(described['step']),
      'thresholds': thresholds,
    }
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(
      f'it does not describe a model of flatten_jax: {error!r}.'
    ) from error
  are_names = names and all(isinstance(x, str) for x in class_names)
  fits = len(thresholds) in (0, len(names)) and all(
    map(math.isfinite, thresholds)
  )
  if not (are_names and fits):
    raise ValueError(
      'it does not describe a model of flatten_jax: id2label has to name each '
      'class, and thresholds has a number for each, or none.'
    )
  check_names(found['config'])
  return found
