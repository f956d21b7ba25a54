# SPDX-License-Identifier: Apache-2.0
"""The tables of what was compiled for other machines."""

from benchmarks import scale
from flatten_jax.compiling import machines
from flatten_jax.profiling.peak import peak_flops

STEP = {
  'model': 'uniformer_s',
  'device_kind': 'TPU7x',
  'dtype': 'bfloat16',
  'collectives': [
    {'kind': 'all-reduce', 'bytes': 3e8},
    {'kind': 'reduce-scatter', 'bytes': 6e8},
  ],
  'gmacs_per_chip': 11535,
  'clips_per_chip': 30,
  'mesh': {'data': 4, 'model': 2},
  'devices': 8,
  'sharding': 'tensor',
}


def test_every_machine_has_a_peak_and_links():
  assert {name for name, *_ in machines.GPUS.values()} < set(scale.LINKS)
  assert all(peak_flops(kind, 'bfloat16') for kind in scale.LINKS)


def test_the_limits_of_a_step_are_those_of_its_devices():
  row = scale.roofline_row({'machine': 'tpu7x:2x2x1', 'train': STEP})
  # 11535 * 2e9 / 1153.5e12 s; 2 * 3e8 + 6e8 bytes over 300 GB/s; 15 clips of a
  # device in 20 ms, of which 40 % are 300.
  assert row[2:] == ['20', '4.0', '750', '25', '2400']


def test_an_unknown_device_has_no_limits():
  step = STEP | {'device_kind': 'cpu'}
  row = scale.roofline_row({'machine': 'cpu:8', 'train': step})
  assert row == ['uniformer_s', 'cpu:8 tensor', '', '', '', '', '']
