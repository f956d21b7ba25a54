# SPDX-License-Identifier: Apache-2.0
"""The base of loggers: the methods of CLU's `MetricWriter` that a run calls.

`clu.metric_writers` itself imports TensorFlow, so this package does not import
it; a writer of CLU, or written for it, is a logger as it is.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np


class MetricWriter:
  """Takes the metrics of a run; methods that are not overridden do nothing.

  A logger of your own, `config.loggers=('my_module:my_class',)`, is called with
  the workdir, as text, and need not inherit from this class. A run calls
  `write_hparams` once at each start, `write_scalars` every `config.log_every`
  steps and at each validation, `write_images` at the first step and after the
  test, and `close` at the end. After a resume, steps since the last checkpoint
  come again. An error is a warning in the log, and the run goes on.
  """

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    """Takes numbers, named like 'train/loss', of a step.

    A step may come several times, with other names, and not in order.
    """

  def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
    """Takes pictures, uint8 [H W 3] or [N H W 3], of a step."""

  def write_hparams(self, hparams: Mapping[str, Any]) -> None:
    """Takes the config, by dotted keys: numbers, texts, True or False."""

  def flush(self) -> None:
    """Writes what was kept back."""

  def close(self) -> None:
    """Flushes, and ends; nothing is written afterwards."""

  def fail(self) -> None:
    """Notes, before `close`, that the run ends with an error; not in CLU."""


def each_image(
  images: Mapping[str, np.ndarray],
) -> list[tuple[str, np.ndarray]]:
  """Returns (name, picture [H W 3]); of several, the names are numbered."""
  found = []
  for name, values in images.items():
    if values.ndim == 3:
      found.append((name, values))
    else:
      found += [(f'{name}/{i}', value) for i, value in enumerate(values)]
  return found
