# SPDX-License-Identifier: Apache-2.0
"""Frames and crops of published systems, from the parity files."""

from collections.abc import Sequence
import json

import pytest

from tests.support.folders import PARITY


def entries(file: str, keys: Sequence[str]) -> list:
  """Returns (key, entry) of a file; one that is skipped if it is absent."""
  path = PARITY / file
  if not path.is_file():
    return [pytest.param('', {}, marks=pytest.mark.skip(f'No {path}'))]
  facts = json.loads(path.read_text())
  return [
    (key, entry)
    for part in keys
    for key, entry in (
      facts[part].items()
      if isinstance(facts[part], dict)
      else [(part, entry) for entry in facts[part]]
    )
  ]
