# SPDX-License-Identifier: Apache-2.0
"""Weights & Biases as a logger."""

from collections.abc import Mapping
import os
import pathlib
import secrets
from typing import Any

import numpy as np

from flatten_jax.runtime.workdir.loggers import run_ids
from flatten_jax.runtime.workdir.loggers.metric_writer import (
  MetricWriter,
  each_image,
)


class WandbWriter(MetricWriter):
  """Writes to one run of Weights & Biases, which a resume continues.

  Its environment variables count, such as WANDB_MODE=offline, WANDB_PROJECT
  (else 'flatten_jax') and WANDB_NAME (else the name of the workdir). Files are
  in workdir/wandb, or WANDB_DIR.
  """

  def __init__(self, workdir: pathlib.Path):
    """Opens the run.

    Raises:
      ImportError: wandb is not installed.
      wandb.Error: as when nobody is logged in.
    """
    import wandb  # An extra of this package.

    self._image, self._failed = wandb.Image, False
    run_id = run_ids.read(workdir, 'wandb') or secrets.token_hex(4)
    self._run = wandb.init(
      id=run_id,
      resume='allow',
      project=os.environ.get('WANDB_PROJECT', 'flatten_jax'),
      name=os.environ.get('WANDB_NAME', workdir.absolute().name),
      dir=os.environ.get('WANDB_DIR', str(workdir)),
    )
    run_ids.write(workdir, 'wandb', run_id)
    # Its own count of steps only rises: repeated steps would be lost.
    self._run.define_metric('step')
    self._run.define_metric('*', step_metric='step')

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    """Sends numbers."""
    self._run.log({**scalars, 'step': step})

  def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
    """Sends pictures."""
    pictures = {name: self._image(x) for name, x in each_image(images)}
    self._run.log({**pictures, 'step': step})

  def write_hparams(self, hparams: Mapping[str, Any]) -> None:
    """Sends the config; a resume may change some of it."""
    self._run.config.update(dict(hparams), allow_val_change=True)

  def fail(self) -> None:
    """Lets `close` mark the run as failed."""
    self._failed = True

  def close(self) -> None:
    """Sends the rest and ends the run."""
    self._run.finish(exit_code=int(self._failed))
