# SPDX-License-Identifier: Apache-2.0
"""What a run's results.json says."""

import json
import pathlib
from typing import Any

ABSENT = '{} holds no complete results.json; --mode=evaluate writes it.'


def tested(workdir: str | pathlib.Path) -> tuple[str, dict[str, Any]]:
  """The split that a run was tested on, and its scores.

  That is 'test', or 'val' where the data has no test split with labels.

  Raises:
    FileNotFoundError: nothing was evaluated.
  """
  path = pathlib.Path(workdir) / 'results.json'
  found = json.loads(path.read_text()) if path.exists() else {}
  # An older version scored a test split without any labels.
  empty = 'val' in found and not found.get('test', {}).get('scored', 1)
  split = 'test' if 'test' in found and not empty else 'val'
  if split not in found:
    raise FileNotFoundError(ABSENT.format(workdir))
  return split, found[split]
