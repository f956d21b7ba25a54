# SPDX-License-Identifier: Apache-2.0
"""The folder of a model by itself: config.json and model.safetensors.

`fj.push` writes it, the Hugging Face Hub keeps it, and published weights are
laid out as one. It is read wherever the workdir of a run is.
"""

import functools
import logging
import os
import pathlib
from typing import Any

from flax import nnx
import jax
import numpy as np
from safetensors import SafetensorError, numpy as safetensors

from flatten_jax import hub, paths
from flatten_jax.checkpoints.checkpoints import Checkpoints
from flatten_jax.checkpoints.run_info import RunInfo
from flatten_jax.models import export_torch, load_torch
from flatten_jax.models.weights import file_formats
from flatten_jax.runtime import model_factory, portable, state
from flatten_jax.runtime.configuration import config as configs

log = logging.getLogger('flatten_jax')


class ModelFolder:
  """Reads the folder of a model as `Checkpoints` reads that of a run.

  Nothing in it is executed, and its config names neither paths nor code.
  """

  def __init__(self, folder: pathlib.Path):
    """Reads and checks config.json.

    Raises:
      ValueError: what it says is wrong, or a later version wrote it.
    """
    self.folder = folder
    self._described = portable.read(folder)
    self._config = configs.config_of_model(folder)

  def steps(self) -> list[int]:
    """Returns the step after which the weights were, of the training."""
    return [self._described['step']]

  def choose(self, which: str | None = None) -> int:
    """Returns the step of the weights, the only one."""
    del which
    return self._described['step']

  def best_step(self) -> int | None:
    """Returns None: the validations are those of the run."""
    return None

  def info(self, step: int) -> RunInfo:
    """Returns class names and config."""
    del step
    return RunInfo(self._described['class_names'], self._config.to_dict())

  def scores(self, step: int) -> dict[str, Any]:
    """Returns the thresholds of a multi-label model."""
    del step
    return {'thresholds': self._described['thresholds']}

  def restore_weights(self, step: int) -> dict[str, dict]:
    """Returns {'params', 'batch_stats'} for evaluation, as numpy arrays.

    Raises:
      ValueError: the file is missing or damaged, or contains another model.
    """
    count = len(self.info(step).class_names)
    model = nnx.eval_shape(
      functools.partial(model_factory.build_model, self._config, count)
    )
    load_torch(model, _read(self.folder / hub.WEIGHTS))
    trees = jax.device_get(state.split(model)[1:])
    return dict(zip(('params', 'batch_stats'), trees, strict=True))

  def __enter__(self) -> 'ModelFolder':
    return self

  def __exit__(self, *_) -> None:
    pass


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Reads safetensors, and nothing else, whatever the file is called."""
  if not hub.is_safetensors(path):
    raise ValueError(f'{path} is missing, or not a safetensors file.')
  try:
    return safetensors.load_file(path)
  except (SafetensorError, KeyError) as error:
    raise ValueError(f'{path} is damaged: {error}.') from error


def open_to_read(workdir: str | os.PathLike) -> Checkpoints | ModelFolder:
  """Opens the checkpoints of a run, or the folder of a model.

  Raises:
    FileNotFoundError: it contains neither.
    ValueError: what the folder of a model says is wrong.
  """
  folder = paths.expand(workdir)
  is_run = (folder / 'checkpoints').is_dir()
  if not is_run and portable.is_model(folder):
    return ModelFolder(folder)
  return Checkpoints(workdir, create=False)


def find(source: str | os.PathLike) -> pathlib.Path | None:
  """Returns the folder of a run or a model that initial weights come from.

  Args:
    source: as `config.model.pretrained`; on the Hub, it is downloaded.

  Returns:
    None if weights have no config of ours: a file, a URL, a published name.
  """
  folder = hub.local(source)
  ours = portable.is_model(folder) or not file_formats.holds_weights(folder)
  return folder if folder.is_dir() and ours else None


def write(
  folder: pathlib.Path,
  model: nnx.Module,
  info: RunInfo,
  *,
  step: int = 0,
  thresholds: tuple[float, ...] = (),
) -> None:
  """Writes config.json and model.safetensors.

  Args:
    folder: exists.
    model: with the weights of evaluation.
    info: class names and config.
    step: of the checkpoint.
    thresholds: of a multi-label model.

  Raises:
    ValueError: the model or its layout is not of this package.
  """
  portable.write(
    folder,
    info.class_names,
    info.config,
    step=step,
    thresholds=list(thresholds),
  )
  # Other readers, as those of PyTorch, ask for the format.
  export_torch(model, folder / hub.WEIGHTS, metadata={'format': 'pt'})
