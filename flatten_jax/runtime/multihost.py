# SPDX-License-Identifier: Apache-2.0
"""Several processes, one for each host: how they meet, agree and tell."""

import json
import os
import sys
import threading
from typing import Any

import jax
from jax.experimental import multihost_utils
import ml_collections
import numpy as np

from flatten_jax.runtime import run_log


def initialize(config: ml_collections.ConfigDict) -> None:
  """Meets the other processes of `config.distributed`; again does nothing.

  Where they are is said by the cluster (Slurm, Open MPI, a TPU pod, Kubernetes:
  whatever `jax.distributed.initialize` knows), or by `config.coordinator`,
  `num_processes` and `process_id`. Comes before anything touches a device.

  A process that waits in vain for `config.join_timeout` seconds says so and
  ends with status 1: the runtime would abort it with a stack trace.

  Raises:
    ValueError: there is no such cluster, or half of an address is given.
  """
  run_log.quiet()  # What comes next wakes the devices, and the log is not open.
  if not config.distributed or jax.distributed.is_initialized():
    return
  address = _address(config)
  timeout = config.get('join_timeout', 300)
  watch = threading.Timer(timeout, _give_up, (address, timeout))
  watch.daemon = True
  watch.start()
  try:
    jax.distributed.initialize(**address, initialization_timeout=timeout + 30)
  except ValueError as error:
    raise ValueError(
      'config.distributed found no cluster in the environment '
      f'({str(error).rstrip(".")}). Start with srun, mpirun or on a TPU pod, '
      'or give --config.coordinator=HOST:PORT, --config.num_processes=N and '
      '--config.process_id=0 to N-1.'
    ) from error
  finally:
    watch.cancel()


def _address(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """Arguments of `jax.distributed.initialize`; none where all is found."""
  if not config.get('coordinator'):
    return {}
  count, number = config.num_processes, config.process_id
  _, _, port = config.coordinator.rpartition(':')
  if not port.isdigit() or not 0 <= number < count:
    raise ValueError(
      'Expected a coordinator HOST:PORT, and a process_id from 0 to '
      f'num_processes - 1; got coordinator={config.coordinator!r}, '
      f'num_processes={count}, process_id={number}.'
    )
  return {
    'coordinator_address': config.coordinator,
    'num_processes': count,
    'process_id': number,
  }


def _give_up(address: dict[str, Any], seconds: float) -> None:
  """Ends this process with one message."""
  number = address.get('process_id')
  who = 'This process' if number is None else f'Process {number}'
  where = address.get('coordinator_address', 'where the cluster says')
  if number == 0:
    what = f'waited at {where}, and not all of the others came'
  else:
    what = f'could not meet the others at the coordinator, {where}'
  print(
    f'\nRuntimeError: {who} {what}, within {seconds:g} s. Check that every '
    'process is started with the same address and number of processes, that '
    'process 0 lives, and that no firewall is between; config.join_timeout is '
    'how long to wait.',
    file=sys.stderr,
    flush=True,
  )
  os._exit(1)  # The main thread is in the runtime, which would abort.


def single_host_overrides() -> dict[str, Any]:
  """Values of a config that runs on what there is, wherever it ran before."""
  return {
    'distributed': jax.distributed.is_initialized(),
    'mesh': {'data': -1, 'model': 1},
    'sharding': 'replicated',
  }


def is_first() -> bool:
  """Whether this process is the one that writes."""
  return jax.process_index() == 0


def wait_for_all(what: str) -> None:
  """Returns when every process is here; `what` names the place."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(what)


def gather(values: list) -> list:
  """The lists of all processes, one after the other; every process calls it.

  Args:
    values: anything that JSON can say.
  """
  if jax.process_count() == 1:
    return values
  text = np.frombuffer(json.dumps(values).encode(), np.uint8)
  sizes = multihost_utils.process_allgather(np.array(len(text)))
  padded = np.zeros(sizes.max(), np.uint8)
  padded[: len(text)] = text
  texts = multihost_utils.process_allgather(padded)
  rows = zip(texts, sizes, strict=True)
  return [v for row, n in rows for v in json.loads(row[:n].tobytes())]


def sync_preemption(requested: bool, step: int) -> bool:
  """Whether all processes save after this step and stop.

  A signal reaches them at different steps, or only one of them; jax's own
  handler of SIGTERM tells the others, and they agree on a step to come.

  Args:
    requested: of this process; it decides where it is the only one.
    step: called once for each.
  """
  if jax.process_count() == 1:
    return requested
  return multihost_utils.reached_preemption_sync_point(step)
