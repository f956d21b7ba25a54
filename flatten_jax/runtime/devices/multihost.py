# SPDX-License-Identifier: Apache-2.0
"""Jobs of several processes, one per host: initialization and communication."""

import json
import os
import sys
import threading
from typing import Any

import jax
from jax.experimental import multihost_utils
import ml_collections
import numpy as np

from flatten_jax.runtime.workdir import run_log

NO_ADDRESS = {'coordinator': '', 'num_processes': 0, 'process_id': -1}


def initialize(config: ml_collections.ConfigDict) -> None:
  """Connects the processes of a job if `config.distributed`; only once.

  Addresses come from the cluster environment (Slurm, Open MPI, TPU pods,
  Kubernetes), or from `config.coordinator`, `num_processes` and `process_id`.
  Call it before any device is used.

  A process that waits longer than `config.join_timeout` seconds prints a
  message and exits with status 1. The runtime would abort with a stack trace.

  Raises:
    ValueError: no cluster was found, the address is incomplete, or there is one
      without `config.distributed`.
  """
  run_log.quiet()  # The next lines use devices before the log is open.
  if jax.distributed.is_initialized():
    return
  found = {key: config[key] for key in NO_ADDRESS}
  if not config.distributed:
    if found != NO_ADDRESS:
      raise ValueError(
        'config.coordinator, num_processes and process_id act with '
        f'config.distributed=True only; got {_listed(found)} with False. Write '
        '--config.distributed=True, or, for one process, '
        f'{_listed(NO_ADDRESS, "--config.")}.'
      )
    return
  address = {} if found == NO_ADDRESS else _address(config)
  timeout = config.join_timeout
  watch = threading.Timer(timeout, _give_up, (address, timeout))
  watch.daemon = True
  watch.start()
  try:
    jax.distributed.initialize(**address, initialization_timeout=timeout + 30)
  except ValueError as error:
    raise ValueError(
      'config.distributed found no cluster in the environment '
      f'({str(error).rstrip(".")}). Start with srun, mpirun or on a TPU pod, '
      'or set --config.coordinator=HOST:PORT, --config.num_processes=N and '
      '--config.process_id=0 to N-1.'
    ) from error
  finally:
    watch.cancel()


def _address(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """Returns arguments of `jax.distributed.initialize`."""
  count, number = config.num_processes, config.process_id
  _, _, port = config.coordinator.rpartition(':')
  if not port.isdigit() or not 0 <= number < count:
    raise ValueError(
      'Expected a coordinator HOST:PORT, and a process_id from 0 to '
      f'num_processes - 1; got coordinator={config.coordinator!r}, '
      f'num_processes={count}, process_id={number}. Write all three, or '
      f'{_listed(NO_ADDRESS, "--config.")}, which takes them from the cluster.'
    )
  return {
    'coordinator_address': config.coordinator,
    'num_processes': count,
    'process_id': number,
  }


def _listed(values: dict[str, Any], prefix: str = '') -> str:
  return ' '.join(f'{prefix}{key}={value}' for key, value in values.items())


def _give_up(address: dict[str, Any], seconds: float) -> None:
  """Prints the reason and ends this process."""
  number = address.get('process_id')
  who = 'This process' if number is None else f'Process {number}'
  where = address.get('coordinator_address', 'the address of the cluster')
  if number == 0:
    what = f'waited at {where}, but some processes did not connect'
  else:
    what = f'could not connect to the coordinator at {where}'
  print(
    f'\nRuntimeError: {who} {what} within {seconds:g} s. Check that every '
    'process is started with the same address and number of processes, that '
    'process 0 runs, and that no firewall is between them; '
    'config.join_timeout sets the time to wait.',
    file=sys.stderr,
    flush=True,
  )
  os._exit(1)  # The main thread is in the runtime, which would abort.


def single_host_overrides() -> dict[str, Any]:
  """Returns config values to run on the local devices.

  A checkpoint may have been trained on other devices.
  """
  return {
    'distributed': jax.distributed.is_initialized(),
    **NO_ADDRESS,
    'mesh': {'data': -1, 'model': 1},
    'sharding': 'replicated',
  }


def is_first() -> bool:
  """Returns whether this process is the one that writes files."""
  return jax.process_index() == 0


def wait_for_all(name: str) -> None:
  """Blocks until all processes call it with the same `name`."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)


def gather(values: list) -> list:
  """Concatenates the lists of all processes; every process must call it.

  Args:
    values: anything that JSON can represent.
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
  """Returns whether all processes save after this step and stop.

  A signal reaches the processes at different steps, or only one of them. The
  SIGTERM handler of jax notifies the others, and they agree on a later step.

  Args:
    requested: whether this process got a signal; used if it is the only one.
    step: number of the step; call it once for each.
  """
  if jax.process_count() == 1:
    return requested
  return multihost_utils.reached_preemption_sync_point(step)
