# SPDX-License-Identifier: Apache-2.0
"""Devices that are not there, for the choice of forms."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Device:
  """What a choice of form reads of a `jax.Device`."""

  platform: str
  compute_capability: str = ''


TPU, H100, AMD = Device('tpu'), Device('gpu', '9.0'), Device('gpu', 'gfx942')
