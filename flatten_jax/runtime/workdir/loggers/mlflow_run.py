# SPDX-License-Identifier: Apache-2.0
"""MLflow as a logger."""

from collections.abc import Mapping
import os
import pathlib
import time
from typing import Any

import numpy as np

from flatten_jax.runtime.workdir.loggers import run_ids
from flatten_jax.runtime.workdir.loggers.metric_writer import (
  MetricWriter,
  each_image,
)

AT_ONCE = 100  # Parameters of a request.
MAX_LENGTH = 500  # Of the text of a parameter, in all of MLflow's stores.


class MlflowWriter(MetricWriter):
  """Writes to one run of MLflow, which a resume continues.

  Its environment variables count: MLFLOW_TRACKING_URI, by default a local store
  in the current folder, and MLFLOW_EXPERIMENT_NAME (else 'flatten_jax').
  """

  def __init__(self, workdir: pathlib.Path):
    """Opens the run.

    Raises:
      ImportError: mlflow is not installed.
      mlflow.MlflowException: the store cannot be used.
    """
    import mlflow  # An extra of this package.

    self._mlflow, self._status = mlflow, 'FINISHED'
    self._client = mlflow.MlflowClient()
    self._id = self._continued(run_ids.read(workdir, 'mlflow'))
    if not self._id:
      self._id = self._new(workdir.absolute().name)
      run_ids.write(workdir, 'mlflow', self._id)

  def _continued(self, run_id: str | None) -> str | None:
    """Returns the id of a run that the store still has, and reopens it."""
    if run_id is None:
      return None
    try:
      self._client.update_run(run_id, 'RUNNING')
    except self._mlflow.MlflowException as error:
      if error.error_code != 'RESOURCE_DOES_NOT_EXIST':
        raise
      return None  # Another store, or it was deleted: a new one begins.
    return run_id

  def _new(self, name: str) -> str:
    title = os.environ.get('MLFLOW_EXPERIMENT_NAME', 'flatten_jax')
    found = self._client.get_experiment_by_name(title)
    place = found and found.experiment_id
    place = place or self._client.create_experiment(title)
    return self._client.create_run(place, run_name=name).info.run_id

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    """Sends numbers, in one request."""
    now, metric = int(1000 * time.time()), self._mlflow.entities.Metric
    metrics = [metric(k, v, now, step) for k, v in scalars.items()]
    self._client.log_batch(self._id, metrics)

  def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
    """Sends pictures, as artifacts pictures/<name>_<step>.png."""
    for name, pixels in each_image(images):
      file = f'pictures/{name.replace("/", "_")}_{step}.png'
      self._client.log_image(self._id, pixels, file)

  def write_hparams(self, hparams: Mapping[str, Any]) -> None:
    """Sends the config; those that were sent before cannot be changed."""
    known = self._client.get_run(self._id).data.params
    param = self._mlflow.entities.Param
    params = [
      param(key, str(value)[:MAX_LENGTH])
      for key, value in hparams.items()
      if key not in known
    ]
    for i in range(0, len(params), AT_ONCE):
      self._client.log_batch(self._id, params=params[i : i + AT_ONCE])

  def fail(self) -> None:
    """Lets `close` mark the run as failed."""
    self._status = 'FAILED'

  def close(self) -> None:
    """Ends the run."""
    self._client.set_terminated(self._id, self._status)
