# SPDX-License-Identifier: Apache-2.0
"""Finds published weights by name, `uniformer3d_s/kinetics400`, or on the Hub.

With class names and config in a folder, weights are used as a trained run is,
by every mode and function.
"""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import shutil
import tempfile
import zlib

from flax import nnx

from flatten_jax import hub, models, paths
from flatten_jax.checkpoints import model_folder
from flatten_jax.checkpoints.initial_weights import initial_weights
from flatten_jax.checkpoints.run_info import RunInfo
from flatten_jax.models.weights import download
from flatten_jax.runtime import portable
from flatten_jax.runtime.configuration import config as configs, default_config
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.workdir import run_log
from flatten_jax.text import did_you_mean

_FILES = (hub.WEIGHTS, hub.CARD, hub.CONFIG)  # Of a model, in order.


def is_name(source: str | os.PathLike) -> bool:
  """Returns whether a source is published weights, and not a folder.

  They are `<model>/<weights>`, or hf://user/name.
  """
  model, slash, _ = os.fspath(source).partition('/')
  known = bool(slash) and model in models.MODELS
  return hub.is_address(source) or (known and not os.path.exists(source))


def workdir(source: str, runs: str | os.PathLike = '') -> pathlib.Path:
  """Returns the folder of published weights; makes it on first use.

  Args:
    source: '<model>/<weights>', such as 'uniformer_nano/quickstart', or
      'hf://user/name'.
    runs: where it gets a folder of its own, for what modes write as well; on
      the Hub, each commit has one. By default, it is in a cache.

  Raises:
    ValueError: there are no such weights, or their class names are not known.
    OSError: they cannot be downloaded.
  """
  if hub.is_address(source):
    return _of_hub(source, runs)
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
  made = _cache(name, weights)
  if runs:
    made = paths.expand(runs) / f'{name}_{weights}'
  of_before = (made / 'checkpoints').is_dir()  # By an earlier version.
  if not of_before and not portable.is_model(made):
    with _new_model(made) as new:
      _make(new, name, weights)
  return made


@contextlib.contextmanager
def _new_model(made: pathlib.Path) -> Iterator[pathlib.Path]:
  """Gives a folder to write a model to; its files are then moved to `made`.

  The config makes `made` a model, so it comes last; each file is whole at once,
  also if other processes make the same.
  """
  made.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(dir=made.parent) as name:
    new = pathlib.Path(name)
    yield new
    for file in _FILES:
      if (new / file).exists():
        os.replace(new / file, made / file)


def _of_hub(address: str, runs: str | os.PathLike) -> pathlib.Path:
  """Returns a model on the Hub: in its cache, or a copy in `runs`."""
  cached = hub.fetch(address)
  if not portable.is_model(cached):
    raise ValueError(
      f'{address} has weights, but its {hub.CONFIG} is not one of flatten_jax, '
      'so classes and clips are not known. Its weights can start a training: '
      f'--config.model.pretrained={address}'
    )
  if not runs:
    return cached
  name = hub.parse(address)[0].replace('/', '_')
  made = paths.expand(runs) / f'{name}_{cached.name[:8]}'
  if not portable.is_model(made):
    with _new_model(made) as new:
      for file in _FILES:
        if (cached / file).exists():
          shutil.copyfile(cached / file, new / file)
  return made


def _cache(name: str, weights: str) -> pathlib.Path:
  """Returns the folder of published weights; new ones get a new folder."""
  published = models.MODELS[name].weights[weights]
  mark = ''
  if published.url.startswith('file:'):  # Of this package, of any version.
    inputs = repr((models.input_spec(name, weights), published.config))
    content = download.fetch(published.url).read_bytes() + inputs.encode()
    mark = f'_{zlib.crc32(content):08x}'
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
  """Writes published weights with their class names and config."""
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
  model = nnx.merge(experiment.graphdef, *initial_weights(experiment))
  model_folder.write(folder, model, RunInfo(names, config.to_dict()))
