# SPDX-License-Identifier: Apache-2.0
"""One device, eight, and two processes with four each get equal results."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest

from flatten_jax.checkpoints.checkpoints import Checkpoints
from flatten_jax.runtime.devices import multihost
from flatten_jax.runtime.workdir import run_log
from tests.support import many_devices
from tests.support.many_devices import RULES, SAVED

ROOT = pathlib.Path(__file__).resolve().parents[3]
EIGHT = '--xla_force_host_platform_device_count=8'
FOUR = '--xla_force_host_platform_device_count=4'
LONGEST = 1200  # Seconds that the pair may take on a busy machine.


def free_port():
  with socket.socket() as taken:
    taken.bind(('localhost', 0))
    return taken.getsockname()[1]


def start(code, *arguments):
  """Starts a Python process with four devices."""
  flags = os.environ['XLA_FLAGS'].replace(EIGHT, FOUR)
  environment = os.environ | {'XLA_FLAGS': flags, 'PYTHONPATH': str(ROOT)}
  return subprocess.Popen(
    [sys.executable, *code, *map(str, arguments)],
    cwd=ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


@pytest.fixture(scope='module')
def one_device(clips_root, tmp_path_factory):
  config = many_devices.configure(clips_root)
  first = jax.devices()[:1]
  losses, seen, run, state = many_devices.train(config, devices=first)
  folder = tmp_path_factory.mktemp('one')
  logits = many_devices.score(config, folder, run, state)
  return {'losses': losses, 'seen': seen, 'logits': logits}


@pytest.fixture(scope='module')
def pair(clips_root, tmp_path_factory):
  """Results of two processes, their shared folder and their output."""
  folder, port = tmp_path_factory.mktemp('pair'), free_port()
  script = [ROOT / 'tests' / 'support' / 'many_devices.py']
  both = [start(script, i, port, clips_root, folder) for i in range(2)]
  # If one fails, the other may wait for it without end.
  end = threading.Timer(LONGEST, lambda: [process.kill() for process in both])
  end.start()
  outputs = [process.communicate() for process in both]
  end.cancel()
  said = '\n'.join(errors[-3000:] for _, errors in outputs)
  assert [process.returncode for process in both] == [0, 0], said
  found = [json.loads((folder / f'{i}.json').read_text()) for i in range(2)]
  return found, folder, [out for out, _ in outputs]


def compare(ours, one_device):
  np.testing.assert_allclose(
    ours['losses'], one_device['losses'], rtol=0, atol=1e-5
  )
  logits = [np.array(x['logits']) for x in (ours, one_device)]
  np.testing.assert_allclose(*logits, atol=1e-4)
  np.testing.assert_array_equal(*(x.argmax(-1) for x in logits))


@pytest.mark.slow
@pytest.mark.parametrize('rule', RULES)
def test_eight_devices_compute_the_same_as_one(
  rule, one_device, clips_root, tmp_path
):
  ours = many_devices.measure(clips_root, tmp_path, rule)
  compare(ours, one_device)
  assert ours['seen'] == one_device['seen']


@pytest.mark.slow
def test_sgd_with_all_its_options_does_not_depend_on_the_devices(
  clips_root, tmp_path
):
  """On one device, on eight, and resumed on eight with FSDP."""

  def train(rule, count, **folders):
    config = many_devices.configure(clips_root, rule)
    config.model.name = 'vivit_test'
    del config.model.depth
    config.optimizer, config.nesterov, config.decay_all = 'sgd', True, True
    config.lr, config.layer_decay, config.grad_accum_steps = 0.3, 0.9, 2
    config.param_groups = (('', 0.5, 1.0), ('head', 1.0, 0.0))
    config.grad_clip_norm, config.grad_clip_groups = 0.5, 8
    devices = jax.devices()[:count]
    return many_devices.train(config, devices=devices, **folders)[0]

  one = train('replicated', 1, save=tmp_path)
  assert abs(one[-1] - one[0]) > 0.02  # The weights have moved.
  eight = train('replicated', 8)
  np.testing.assert_allclose(eight, one, rtol=0, atol=1e-5)
  resumed = train('fsdp', 8, resume=tmp_path)
  np.testing.assert_allclose(resumed, one[SAVED:], rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('rule', RULES)
def test_two_processes_compute_the_same_as_one(rule, one_device, pair):
  found, _, _ = pair
  mine, others = (values[rule] for values in found)
  assert mine['losses'] == others['losses']
  assert mine['logits'] == others['logits']
  compare(mine, one_device)
  # Each got its own half of every batch.
  seen = [a + b for a, b in zip(mine['seen'], others['seen'], strict=True)]
  assert seen == one_device['seen']


@pytest.mark.slow
def test_sharding_reduces_the_memory_per_device(pair):
  """FSDP divides most weights by eight, tensor parallelism some by two."""
  held = {rule: pair[0][0][rule]['bytes'] for rule in RULES}
  assert held['fsdp'] < 0.35 * held['replicated']
  assert held['fsdp'] < held['tensor'] < 0.9 * held['replicated']


@pytest.mark.slow
def test_a_run_resumes_on_other_devices_and_uses_every_clip_once(
  one_device, pair, clips_root
):
  """From 2 x 4 devices, after eight steps, to 2 x 1 and to 1 x 4."""
  found, folder, _ = pair
  two = [values['two devices'] for values in found]
  config = many_devices.configure(clips_root, 'fsdp')
  losses, seen, *_ = many_devices.train(
    config, devices=jax.devices()[:4], resume=folder / 'saved'
  )
  rest = one_device['seen'][SAVED:]
  assert seen == rest
  assert [a + b for a, b in zip(*(x['seen'] for x in two), strict=True)] == rest
  # All clips are used equally often, or once more.
  counts = np.bincount(np.concatenate(one_device['seen'][:SAVED] + seen))
  assert len(counts) == 24 and set(counts) <= {13, 14}
  for continued in (losses, two[0]['losses']):
    np.testing.assert_allclose(
      continued, one_device['losses'][SAVED:], rtol=0, atol=1e-5
    )


@pytest.mark.slow
def test_a_signal_to_one_process_stops_both_and_one_writes(pair):
  found, folder, outputs = pair
  assert [values['stopped'] for values in found] == [0, 0]
  with Checkpoints(folder / 'run', create=False) as checkpoints:
    (step,) = checkpoints.steps()
  log = (folder / 'run' / 'log.txt').read_text()
  assert log.count(f'Saved after step {step}; the same command') == 1
  assert 'Mesh data 8 x model 1 in 2 processes, replicated' in log
  assert 'Batch norm: global, of 16 clips' in log
  assert 'Saved after' in outputs[0] and 'Saved after' not in outputs[1]
  results = json.loads((folder / 'run' / 'results.json').read_text())['test']
  assert results['videos'] == results['scored'] == 12
  assert [values['top1'] for values in found] == [results['top1']] * 2
  assert [values['order'] for values in found] == [results['order']['rows']] * 2
  # Each process gets the values of both.
  gathered = ['from 0', 'from 1', 'from 1']
  assert [values['gathered'] for values in found] == [gathered] * 2


@pytest.mark.slow
def test_a_process_that_cannot_connect_prints_one_error_and_exits():
  code = (
    'from configs import common\n'
    'from flatten_jax.runtime.devices import multihost\n'
    'config = common.base()\n'
    'config.distributed, config.join_timeout = True, 2\n'
    'config.num_processes, config.process_id = 2, 1\n'
    f"config.coordinator = 'localhost:{free_port()}'\n"
    'multihost.initialize(config)'
  )
  process = start(['-c', code])
  _, errors = process.communicate()
  assert process.returncode == 1
  assert (
    'RuntimeError: Process 1 could not connect to the coordinator' in errors
  )
  assert 'Traceback' not in errors and 'Check failure' not in errors


@pytest.mark.parametrize(
  ('coordinator', 'count', 'number'),
  [
    ('somewhere', 2, 0),
    ('host:1234', 0, -1),
    ('host:1234', 2, 2),
    ('', 2, 1),
    ('', 2, -1),
    ('', 0, 0),
  ],
)
def test_an_incomplete_address_is_refused(config, coordinator, count, number):
  config.distributed, config.coordinator = True, coordinator
  config.num_processes, config.process_id = count, number
  with pytest.raises(ValueError, match='HOST:PORT'):
    multihost.initialize(config)


def test_an_address_without_distributed_is_refused_except_of_a_saved_run(
  config,
):
  config.coordinator = 'host:1234'
  config.num_processes, config.process_id = 2, 1
  with pytest.raises(ValueError, match=r'--config\.distributed=True'):
    multihost.initialize(config)
  config.distributed = True
  config.update(multihost.single_host_overrides())
  multihost.initialize(config)
  assert jax.process_count() == 1


def test_the_error_without_a_cluster_says_how_to_set_the_address(
  config, monkeypatch
):
  def initialize(**_):
    raise ValueError('coordinator_address should be defined.')

  monkeypatch.setattr(jax.distributed, 'initialize', initialize)
  config.distributed = True
  with pytest.raises(ValueError, match=r'--config\.coordinator=HOST:PORT'):
    multihost.initialize(config)


@pytest.fixture(autouse=True)
def quiet():
  yield
  run_log.stop()
