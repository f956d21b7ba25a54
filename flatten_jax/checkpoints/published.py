# SPDX-License-Identifier: Apache-2.0
"""Makes a workdir of published weights, `uniformer3d_s/kinetics400`.

With their class names and their clips in a checkpoint, weights are used as a
trained run is, by every mode and function.
"""

import os
import pathlib
import shutil
import tempfile
import zlib

import optax

from flatten_jax import models, paths
from flatten_jax.checkpoints.checkpoints import Checkpoints
from flatten_jax.checkpoints.initial_weights import initial_weights
from flatten_jax.checkpoints.run_info import RunInfo
from flatten_jax.models.weights import download
from flatten_jax.runtime import config as configs, default_config
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.state import TrainState
from flatten_jax.runtime.workdir import run_log
from flatten_jax.text import did_you_mean


def is_name(source: str | os.PathLike) -> bool:
  """Returns whether a source is `<model>/<weights>`, and not a folder."""
  model, slash, _ = os.fspath(source).partition('/')
  return bool(slash) and model in models.MODELS and not os.path.exists(source)


def workdir(source: str, folder: str | os.PathLike = '') -> pathlib.Path:
  """Returns the workdir of published weights; makes it on first use.

  Args:
    source: '<model>/<weights>', such as 'uniformer_nano/quickstart'.
    folder: of the workdir; by default one in ~/.cache/flatten_jax.

  Raises:
    ValueError: there are no such weights, or their class names are not known.
    OSError: they cannot be downloaded.
  """
  name, _, weights = source.partition('/')
  published = models.MODELS[name].weights
  if weights not in published:
    there = ', '.join(f'{name}/{known}' for known in published) or 'none'
    raise ValueError(
      f'There are no weights {source}.{did_you_mean(weights, published)} '
      f'Published for {name}: {there}.'
    )
  if not published[weights].class_names:
    known = ', '.join(known_names())
    raise ValueError(
      f'The class names of {source} are not part of this package: '
      f'fj.create_model({name!r}, num_classes=..., pretrained={weights!r}) has '
      f'its numbers, fj.predict(model, video, class_names=...) names them. '
      f'With names: {known}.'
    )
  made = paths.expand(folder or _cache(name, weights))
  if not (made / 'checkpoints').is_dir():
    made.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=made.parent) as new:
      _make(pathlib.Path(new), name, weights)
      shutil.copytree(new, made, dirs_exist_ok=True)
  return made


def _cache(name: str, weights: str) -> pathlib.Path:
  """Returns the folder of published weights; new files get a new one."""
  url = models.MODELS[name].weights[weights].url
  mark = ''
  if url.startswith('file:'):  # Of this package, of any version.
    mark = f'_{zlib.crc32(download.fetch(url).read_bytes()):08x}'
  return paths.cache(f'published/{name}_{weights}{mark}')


def known_names() -> list[str]:
  """Returns the published weights whose classes have names, sorted."""
  return sorted(
    f'{name}/{weights}'
    for name, entry in models.MODELS.items()
    for weights, published in entry.weights.items()
    if published.class_names
  )


def _make(folder: pathlib.Path, name: str, weights: str) -> None:
  """Writes a checkpoint of published weights."""
  run_log.quiet()
  entry = models.MODELS[name].weights[weights]
  config = default_config.base()
  config.model.name, config.model.pretrained = name, weights
  with config.ignore_type():
    config.update_from_flattened_dict(dict(entry.config))
    config.model.update(models.weights_options(name, weights))
  config = configs.fill_and_check(config)
  names = entry.read_class_names()
  experiment = Experiment.create(config, names)
  state = TrainState.create(*initial_weights(experiment), optax.identity())
  with Checkpoints(folder) as checkpoints:
    checkpoints.save(state, RunInfo(names, config.to_dict()), None)
