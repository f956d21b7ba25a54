# SPDX-License-Identifier: Apache-2.0
"""loggers.json: what continues the same run of a service after a resume."""

import json
import pathlib

from flatten_jax import paths

FILE = 'loggers.json'


def read(workdir: pathlib.Path, service: str) -> str | None:
  """Returns the id of this workdir's run at a service; None if it has none."""
  return _all(workdir).get(service)


def write(workdir: pathlib.Path, service: str, run_id: str) -> None:
  """Notes the id of this workdir's run at a service."""
  text = json.dumps(_all(workdir) | {service: run_id}, indent=2)
  paths.write_text(workdir / FILE, text + '\n')


def _all(workdir: pathlib.Path) -> dict[str, str]:
  try:
    return json.loads((workdir / FILE).read_text())
  except (FileNotFoundError, ValueError):  # Damaged: a new run begins.
    return {}
