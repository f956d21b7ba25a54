# SPDX-License-Identifier: Apache-2.0
"""Names of machines, and what they need."""

import json
import math
import os
import subprocess
import sys

import pytest

from benchmarks import scale
from flatten_jax.compiling import compile_for, machines
from flatten_jax.compiling.machines import Machine

# Prints the devices of machines, those of meshes of them, and their kind.
DEVICES = """
import json, sys
from flatten_jax.compiling.machines import Machine
from flatten_jax.runtime.configuration import config as configs, default_config
from flatten_jax.runtime.devices import sharding

config = configs.complete(default_config.base())
found = {}
for name in sys.argv[1:]:
  devices = Machine.parse(name).devices()
  mesh = sharding.make_mesh(config, devices)
  found[name] = len(devices), mesh.size, devices[0].device_kind
print(json.dumps(found))
"""


@pytest.mark.parametrize(
  ('text', 'platform', 'shape'),
  [
    ('v5e:4x4', 'tpu', (4, 4)),
    ('V4:2x2x1', 'tpu', (2, 2, 1)),
    ('h100:1x2x8', 'gpu', (1, 2, 8)),
    ('h100:8', 'gpu', (1, 1, 8)),
    ('cpu:8', 'cpu', (8,)),
  ],
)
def test_a_name_is_read(text, platform, shape):
  machine = Machine.parse(text)
  assert (machine.platform, machine.shape) == (platform, shape)
  assert Machine.parse(str(machine)) == machine


@pytest.mark.parametrize(
  ('text', 'shown'),
  [
    ('v5litepod:4x4', "no machine 'v5litepod'. Did you mean v5e"),
    ('v5e:3x3', "'3x3' is not one of 1x1, 2x2"),
    ('v5e', "'' is not one of"),
    ('h100:1x1x1x8', 'too many sizes'),
    ('h100:0x8', 'is not slices x hosts x GPUs'),
    ('cpu:two', "'two' is not a number"),
  ],
)
def test_a_wrong_name_is_refused_with_the_right_ones(text, shown):
  with pytest.raises(ValueError, match='--topology=') as error:
    Machine.parse(text)
  assert shown.split('. Did')[0] in str(error.value)


def test_a_missing_compiler_names_its_extra(monkeypatch):
  monkeypatch.setattr(machines.importlib.util, 'find_spec', lambda _: None)
  with pytest.raises(RuntimeError, match=r'pip install "\.\[tpu\]"'):
    Machine.parse('v5e:2x2').check_installed()


def test_every_machine_of_the_table_can_be_named():
  for line in machines.table().splitlines():
    kind, sizes = line.split(maxsplit=1)
    if kind in machines.TPUS:
      for size in sizes.split(', '):
        assert Machine.parse(f'{kind}:{size}').kind == kind


def test_a_mesh_has_every_chip_of_a_slice():
  pytest.importorskip('libtpu', reason='pip install ".[tpu]"')
  slices = [
    f'{kind}:{size}' for kind, sizes in machines.TPUS.items() for size in sizes
  ]
  process = subprocess.run(
    [sys.executable, '-c', DEVICES, *slices],
    env=os.environ
    | Machine.parse(slices[0]).environment()
    | {'PYTHONPATH': compile_for._python_path()},
    capture_output=True,
    text=True,
    check=False,
  )
  assert not process.returncode, process.stderr
  found = json.loads(process.stdout.splitlines()[-1])
  for name in slices:
    machine = Machine.parse(name)
    # A chip of tpu7x is two devices.
    devices = math.prod(machine.shape) * (2 if machine.kind == 'tpu7x' else 1)
    count, of_mesh, device_kind = found[name]
    assert (count, of_mesh) == (devices, devices), name
    assert device_kind in scale.LINKS, name


def test_jax_may_use_three_quarters_of_what_a_gpu_reports():
  limit = Machine.parse('h100:1x1x8').memory_bytes
  assert abs(limit - 0.75 * 84_942_979_072) < 0.01 * limit
  assert Machine.parse('v5e:2x2').memory_bytes is None
