# SPDX-License-Identifier: Apache-2.0
"""Machines to compile for: TPU slices, NVIDIA GPUs, and CPUs."""

from collections.abc import Mapping
import dataclasses
import importlib.util
import math
import os
import re
from typing import Any

import jax

from flatten_jax.text import did_you_mean

# Names of libtpu, without hosts of several slices. A topology is the chips in
# each direction; v4 and v5p have three.
TPUS = {
  'v4': ('2x2x1', '2x2x2', '2x2x4', '4x4x4'),
  'v5e': ('1x1', '2x2', '2x4', '4x4', '4x8', '8x8', '8x16', '16x16'),
  'v5p': ('2x2x1', '2x2x2', '2x2x4', '4x4x4'),
  'v6e': ('1x1', '2x2', '2x4', '4x4', '4x8', '8x8', '8x16', '16x16'),
  'tpu7x': ('2x2x1', '2x2x2', '2x2x4'),
}
# GPUs that the compiler can be told of, with what the data sheets of NVIDIA
# say: GiB of memory, GB/s of its bandwidth, multiprocessors, MiB of the second
# cache, GHz, compute capability, KiB of shared memory of a multiprocessor.
GPUS = {
  'a100': ('NVIDIA A100-SXM4-80GB', 80, 2039, 108, 40, 1.41, (8, 0), 164),
  'h100': ('NVIDIA H100 80GB HBM3', 80, 3352, 132, 50, 1.98, (9, 0), 228),
  'h200': ('NVIDIA H200', 141, 4800, 132, 50, 1.98, (9, 0), 228),
}
EXTRAS = {'tpu': ('libtpu', '.[tpu]'), 'gpu': ('jax_cuda13_plugin', '.[cuda]')}


@dataclasses.dataclass(frozen=True)
class Machine:
  """A machine to compile for, such as 'v5e:4x4', 'h100:1x1x8' or 'cpu:8'.

  Attributes:
    kind: 'cpu', or a name of `TPUS` or `GPUS`.
    shape: chips in each direction; of GPUs, slices x hosts x GPUs of a host.
  """

  kind: str
  shape: tuple[int, ...]

  @classmethod
  def parse(cls, text: str) -> 'Machine':
    """Reads a name.

    Raises:
      ValueError: there is no such machine.
    """
    kind, _, sizes = text.lower().partition(':')
    known = [*TPUS, *GPUS, 'cpu']
    if kind not in known:
      raise ValueError(
        f'--topology={text}: no machine {kind!r}.{did_you_mean(kind, known)} '
        f'Choose from {", ".join(known)}, as in v5e:4x4, h100:1x1x8 or cpu:8.'
      )
    axes = 3 if kind in GPUS else 1 if kind == 'cpu' else None
    valid = re.fullmatch(r'[1-9]\d*(x[1-9]\d*)*', sizes)
    if not valid or (kind in TPUS and sizes not in TPUS[kind]):
      if kind in TPUS:
        right = f'one of {", ".join(TPUS[kind])}'
      else:
        right = 'slices x hosts x GPUs, as 1x1x8' if axes == 3 else 'a number'
      raise ValueError(f'--topology={text}: {sizes!r} is not {right}.')
    shape = tuple(map(int, sizes.split('x')))
    if axes and len(shape) > axes:
      raise ValueError(f'--topology={text}: too many sizes.')
    if axes:
      shape = (1,) * (axes - len(shape)) + shape
    return cls(kind, shape)

  def __str__(self) -> str:
    return f'{self.kind}:{"x".join(map(str, self.shape))}'

  @property
  def platform(self) -> str:
    """'cpu', 'gpu' or 'tpu'."""
    if self.kind in TPUS:
      return 'tpu'
    return 'gpu' if self.kind in GPUS else 'cpu'

  @property
  def memory_bytes(self) -> int | None:
    """The memory of a GPU that a program may use, 3/4 by JAX's default.

    None for a TPU, whose compiler refuses what does not fit, and for a CPU.
    """
    if self.kind not in GPUS:
      return None
    return int(0.75 * _device_memory(GPUS[self.kind][1]))

  def check_installed(self) -> None:
    """Raises a RuntimeError if the compiler for the machine is missing."""
    module, extra = EXTRAS.get(self.platform, ('jax', ''))
    if importlib.util.find_spec(module) is None:
      raise RuntimeError(
        f'Compiling for {self} needs {module}: pip install "{extra}" (no '
        f'{self.platform.upper()} is needed).'
      )

  def environment(self) -> dict[str, str]:
    """Returns variables for a process that compiles for the machine."""
    devices = self.shape[-1] if self.kind == 'cpu' else 1
    count = f'--xla_force_host_platform_device_count={devices}'
    flags = [
      flag
      for flag in os.environ.get('XLA_FLAGS', '').split()
      if not flag.startswith('--xla_force_host_platform_device_count')
    ]
    return {
      'JAX_PLATFORMS': 'cpu',
      # A program from a cache is not planned again.
      'JAX_ENABLE_COMPILATION_CACHE': 'false',
      'XLA_FLAGS': ' '.join([*flags, count]),
      # libtpu would look for a driver, the machine's name, and other users.
      'TPU_SKIP_MDS_QUERY': '1',
      'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
      'TPU_WORKER_HOSTNAMES': 'localhost',
      'TPU_ACCELERATOR_TYPE': 'v5litepod-16',
      'TF_CPP_MIN_LOG_LEVEL': '2',
    }

  def devices(self) -> list[jax.Device]:
    """Returns devices that programs can be compiled for, but not run on."""
    from jax.experimental import topologies  # Loads the compilers.

    if self.kind == 'cpu':
      return jax.devices('cpu')
    sizes = 'x'.join(map(str, self.shape))
    if self.kind in GPUS:
      description = topologies.get_topology_desc(
        platform='cuda',
        topology_name='',
        topology=sizes,
        target_config=_gpu_description(*GPUS[self.kind]),
      )
    else:
      options: dict[str, Any] = {}
      if self.kind == 'v4':  # Its two cores as one device; later ones always.
        options['chip_config_name'] = 'megacore'
      if math.prod(self.shape) == 1:
        options['chips_per_host_bounds'] = (1, 1, 1)
      description = topologies.get_topology_desc(
        platform='tpu', topology_name=f'{self.kind}:{sizes}', **options
      )
    return list(description.devices)


def table() -> str:
  """Returns the machines of `--list_topologies`, a line for each kind."""
  rows: Mapping[str, str] = {
    **{kind: ', '.join(sizes) for kind, sizes in TPUS.items()},
    **{
      kind: f'slices x hosts x GPUs of a host: 1x1x1, 1x1x8, 1x4x8 ({name})'
      for kind, (name, *_) in GPUS.items()
    },
    'cpu': 'number of simulated devices: 1, 8',
  }
  width = max(map(len, rows))
  return '\n'.join(f'{kind:<{width}}  {text}' for kind, text in rows.items())


def _device_memory(memory: float) -> int:
  """Returns the bytes that a GPU of so many GiB reports: a hundredth less."""
  return int(0.989 * memory * 2**30)


def _gpu_description(
  name: str,
  memory: float,
  bandwidth: float,
  cores: int,
  cache: float,
  clock: float,
  capability: tuple[int, int],
  shared: float,
) -> str:
  """Returns the text of XLA's GpuTargetConfigProto. Units: see `GPUS`."""
  major, minor = capability
  feature = 'feature_extension: ACCELERATED_FEATURES' if major >= 9 else ''
  return f"""
    gpu_device_info {{
      threads_per_block_limit: 1024
      threads_per_warp: 32
      shared_memory_per_block: 49152
      shared_memory_per_core: {int(shared * 1024)}
      threads_per_core_limit: 2048
      core_count: {cores}
      fpus_per_core: {128 if major >= 9 else 64}
      block_dim_limit_x: 2147483647
      block_dim_limit_y: 65535
      block_dim_limit_z: 65535
      memory_bandwidth: {int(bandwidth * 1e9)}
      l2_cache_size: {int(cache * 2**20)}
      clock_rate_ghz: {clock}
      device_memory_size: {_device_memory(memory)}
      shared_memory_per_block_optin: {int((shared - 1) * 1024)}
      cuda_compute_capability {{ major: {major} minor: {minor} {feature} }}
      registers_per_core_limit: 65536
      registers_per_block_limit: 65536
      thread_dim_limit_x: 1024
      thread_dim_limit_y: 1024
      thread_dim_limit_z: 64
      name: "{name}"
    }}
    platform_name: "CUDA"
    dnn_version_info {{ major: 9 minor: 8 patch: 0 }}
    device_description_str: "{name}"
  """
