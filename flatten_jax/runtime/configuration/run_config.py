# SPDX-License-Identifier: Apache-2.0
"""The config of a run as a config file: --config=.../run_config.py:runs/1.

The command line reads it for a run whose keys get other values, as in
`train runs/1 --log_every=10`.
"""

import ml_collections

from flatten_jax import hub
from flatten_jax.runtime.configuration import config as configs
from flatten_jax.runtime.workdir import gcs_workdir


def get_config(workdir: str) -> ml_collections.ConfigDict:
  """Returns the config of the run in a workdir.

  Raises:
    ValueError: there is no run.
  """
  workdir = hub.fetch(workdir) if hub.is_address(workdir) else workdir
  with gcs_workdir.mirrored_workdir(workdir) as folder:
    config = configs.config_of_run(folder)
  if config is None:
    raise ValueError(f'{workdir} has no run, whose config could be used.')
  return config
