# SPDX-License-Identifier: Apache-2.0
"""Metadata of a checkpoint."""

import dataclasses
from typing import Any

from flatten_jax.runtime.configuration import config as configs, config_keys


@dataclasses.dataclass(frozen=True)
class RunInfo:
  """Everything in a checkpoint besides its arrays; saved as JSON.

  Attributes:
    class_names: in the order of the model's outputs.
    config: the resolved config, as plain values under the current keys.
    batch: number of the next batch of the training stream, which is a pure
      function of (seed, batch) and of the training data.
    epoch: the same position in epochs, for people.
    videos: number of training videos and images; 0 if unknown.
    data: checksums of their names, see `training_data`; {} if unknown.
    refit_from: in a refit, the step of the checkpoint that it began with.
    format: of the checkpoint, see `config_keys`.
  """

  class_names: tuple[str, ...]
  config: dict[str, Any]
  batch: int = 0
  epoch: float = 0.0
  videos: int = 0
  data: dict[str, Any] = dataclasses.field(default_factory=dict)
  refit_from: int | None = None
  format: int = config_keys.FORMAT

  @classmethod
  def from_json(cls, values: dict[str, Any]) -> 'RunInfo':
    """Reads the values of `dataclasses.asdict`, of this or an earlier version.

    Raises:
      ValueError: a later version of this package wrote them.
    """
    config = configs.of_checkpoint(values).to_dict()
    class_names = tuple(values['class_names'])
    known = {field.name for field in dataclasses.fields(cls)}
    values = {'format': 1} | {k: v for k, v in values.items() if k in known}
    return cls(**values | {'class_names': class_names, 'config': config})
