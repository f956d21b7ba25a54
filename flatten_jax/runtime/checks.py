# SPDX-License-Identifier: Apache-2.0
"""What is refused before a training begins, and not at its end."""

import jax
import ml_collections

from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.runtime import sharding

CHOICES = {
  'test_checkpoint': ('last', 'best'),
  'eval_frame_order': ('forward', 'reversed', 'shuffled'),
  'mix_stage': ('before_flatten', 'after_flatten'),
}


def check(config: ml_collections.ConfigDict, splits: dict[str, Videos]) -> None:
  """Refuses at the start what would otherwise fail at the end of a training.

  Raises:
    ValueError: a value that cannot be; the message says what can.
  """
  check_batch_size(config)
  for key, choices in CHOICES.items():
    if config[key] not in choices:
      raise ValueError(
        f'{key} is {" or ".join(map(repr, choices))}, not {config[key]!r}.'
      )
  if config.test_checkpoint == 'best' and 'val' not in splits:
    raise ValueError(
      "test_checkpoint='best' needs a val split to tell which one is best; "
      "there is none. Use 'last'."
    )
  if config.keep_last < 1:
    raise ValueError(f'keep_last is 1 or more, not {config.keep_last}.')


def check_batch_size(config: ml_collections.ConfigDict) -> None:
  """Refuses a batch that does not divide over devices and its parts.

  Devices along the mesh's axis 'model' see the same part of a batch.
  """
  devices, _ = sharding.mesh_shape(config, jax.device_count())
  if config.batch_size < 1 or config.batch_size % devices:
    raise ValueError(
      f'batch_size={config.batch_size} does not divide over {devices} '
      f'devices. Choose a multiple of {devices}.'
    )
  parts, clips = (
    config.grad_accum_steps,
    config.batch_size * config.data.repeated_aug,
  )
  if parts < 1 or clips % (devices * parts):
    raise ValueError(
      f'grad_accum_steps={parts} does not divide {clips} clips on {devices} '
      'devices.'
    )
