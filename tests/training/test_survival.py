# SPDX-License-Identifier: Apache-2.0
"""Kills, signals, damaged files and full disks cost a run only a few steps."""

import contextlib
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flatten_jax.checkpoints import checksums
from flatten_jax.checkpoints.checkpoints import Checkpoints, RunInfo
from flatten_jax.inputs.sources import dataset
from flatten_jax.runtime.state import TrainState
from flatten_jax.runtime.workdir import run_log, workdirs
from flatten_jax.runtime.workdir.loggers.tensorboard import TensorBoardWriter
from flatten_jax.training import setup
from flatten_jax.training.stop_signal import StopSignal

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
INFO = RunInfo(('left', 'right'), {'lr': 0.1})


def state_at(step, size=1000):
  """Returns a state whose arrays all depend on the step."""
  values = np.random.default_rng(step).random(size, np.float32)
  state = TrainState.create(
    {'head': {'kernel': jnp.asarray(values)}},
    {'mean': jnp.asarray(values[:3])},
    optax.sgd(0.1, momentum=0.9),
  )
  return state.replace(step=jnp.int32(step))


def save(workdir, steps, **options):
  """Saves checkpoints of these steps; every second one was validated."""
  with Checkpoints(workdir) as checkpoints:
    for step in steps:
      scores = {'top1': float(step)} if step % 2 == 0 else None
      checkpoints.save(state_at(step, **options), INFO, scores)


def resume(workdir):
  with Checkpoints(workdir) as checkpoints:
    return checkpoints.restore_latest(state_at(0), lambda info: None)


def test_one_process_trains_in_a_workdir_and_a_kill_releases_it(tmp_path):
  code = (
    'import pathlib, sys, time\n'
    'from flatten_jax.runtime.workdir import workdirs\n'
    'with workdirs.exclusive(pathlib.Path(sys.argv[1])):\n'
    '  print("locked", flush=True)\n'
    '  time.sleep(60)\n'
  )
  command = [sys.executable, '-c', code, str(tmp_path)]
  other = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)
  with other:
    assert other.stdout.readline() == b'locked\n'
    words = rf'process {other.pid} on \S+ since \d{{4}}-.*another --workdir'
    with pytest.raises(RuntimeError, match=words), workdirs.exclusive(tmp_path):
      pass
    other.kill()
  with workdirs.exclusive(tmp_path):
    pass


@pytest.mark.parametrize('before', [True, False])
@pytest.mark.parametrize('written', ['log.txt', 'metrics.jsonl'])
def test_a_run_that_a_mistake_ends_at_once_leaves_no_folder(
  before, written, tmp_path
):
  workdir = tmp_path / 'runs' / '1'
  if before:
    workdir.mkdir(parents=True)
  with pytest.raises(FileNotFoundError), workdirs.exclusive(workdir):
    (workdir / written).write_text('x')
    raise FileNotFoundError('data.root: there is no /nowhere')
  assert workdir.exists() == (before or written != 'log.txt')


def test_a_file_system_without_locks_is_logged(tmp_path, monkeypatch, caplog):
  def flock(*_):
    raise OSError(95, 'Operation not supported')

  monkeypatch.setattr(workdirs.fcntl, 'flock', flock)
  monkeypatch.setattr(workdirs.log, 'propagate', True)
  with workdirs.exclusive(tmp_path):
    assert 'No locks in' in caplog.text


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_requests_a_stop_and_restores_the_handler(
  number, capfd
):
  before = signal.getsignal(number)
  with StopSignal() as stop:
    assert not stop.requested
    os.kill(os.getpid(), number)
    assert stop.requested
    assert signal.getsignal(number) is before
  assert signal.getsignal(number) is before
  assert f'{number.name}: saving, then stopping' in capfd.readouterr().err


DAMAGE = {
  'cut': lambda data: data[: len(data) // 2],
  'emptied': lambda data: b'',
  'garbled': lambda data: b'{garbled' * (len(data) // 8 + 1),
  'flipped': lambda data: data[:-2] + bytes([data[-2] ^ 1]) + data[-1:],
  'deleted': None,
}


@pytest.mark.parametrize('how', DAMAGE)
def test_damage_to_any_file_of_a_checkpoint_is_found(how, tmp_path):
  save(tmp_path, [1, 2])
  folder = tmp_path / 'checkpoints' / '2'
  files = [f for f in sorted(folder.rglob('*')) if f.is_file()]
  kinds = {f.relative_to(folder).parts[0] for f in files}
  assert {'state', 'info', 'metrics', checksums.FILE} <= kinds
  assert checksums.find_corruption(folder) is None
  for file in files:
    if file.name in checksums.UNCHECKED:
      continue  # Orbax reads nothing from them.
    data = file.read_bytes()
    if how == 'deleted':
      file.unlink()
    else:
      file.write_bytes(DAMAGE[how](data))
    cause = checksums.find_corruption(folder)
    if file.name != checksums.FILE:
      assert str(file.relative_to(folder)) in cause
    elif how not in ('deleted', 'flipped'):
      assert checksums.FILE in cause
    file.write_bytes(data)
  assert checksums.find_corruption(folder) is None


@pytest.mark.parametrize('part', ['state/_METADATA', 'metrics/metrics', 'bit'])
def test_a_damaged_checkpoint_is_logged_and_the_one_before_is_used(
  part, tmp_path, monkeypatch, caplog
):
  monkeypatch.setattr(workdirs.log, 'propagate', True)
  save(tmp_path, [1, 2, 3, 4])
  newest = tmp_path / 'checkpoints' / '4'
  if part == 'bit':  # In an array: Orbax would read another weight.
    file = max((newest / 'state').rglob('*/d/*'), key=os.path.getsize)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
  else:
    file = newest / part
    file.write_text('{"garbled')
  with Checkpoints(tmp_path, create=False) as checkpoints:
    assert checkpoints.choose() == 3
    if part != 'metrics/metrics':
      with pytest.raises(OSError, match=r"best.*test_checkpoint='last'"):
        checkpoints.choose('best')
  assert 'Checkpoint 4 is damaged' in caplog.text
  assert newest.is_dir()  # Reading does not quarantine.
  state = resume(tmp_path)
  jax.tree.map(np.testing.assert_array_equal, state, state_at(3))
  assert str(file.relative_to(newest)) in caplog.text
  assert (tmp_path / 'damaged_checkpoint_4').is_dir()
  save(tmp_path, [4])
  jax.tree.map(np.testing.assert_array_equal, resume(tmp_path), state_at(4))


def test_checkpoints_without_checksums_are_restored_if_possible(tmp_path):
  save(tmp_path, [1, 2])
  for step in '12':
    (tmp_path / 'checkpoints' / step / checksums.FILE).unlink()
  assert int(resume(tmp_path).step) == 2
  (tmp_path / 'checkpoints' / '2' / 'info' / 'metadata').unlink()
  assert int(resume(tmp_path).step) == 1


@contextlib.contextmanager
def files_of_at_most(size):
  """Simulates a full disk by a limit on the size of files."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_failed_save_is_one_error_and_the_run_can_continue(tmp_path):
  run_log.quiet()
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(state_at(1), INFO, None)
    checkpoints.wait()
    with files_of_at_most(1 << 16):
      checkpoints.save(state_at(2, size=100_000), INFO, None)
      with pytest.raises(OSError, match=r'2 could not be saved.* after step 1'):
        while True:  # The loop checks after every step.
          checkpoints.check()
    checkpoints.check()
    assert checkpoints.steps() == [1]
  names = os.listdir(tmp_path / 'checkpoints')
  assert names == ['1']  # No incomplete files are left.
  assert int(resume(tmp_path).step) == 1


def test_the_error_of_a_full_disk_says_what_to_do(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  with (
    pytest.raises(OSError, match='same command then resumes'),
    workdirs.friendly_disk_errors(tmp_path),
    files_of_at_most(10),
  ):
    path.write_text('more than ten bytes')


def test_the_tensorboard_writer_fails_on_a_full_disk(tmp_path):
  """The usual writers would block: their thread ends, and the queue fills."""
  writer = TensorBoardWriter(tmp_path)
  with files_of_at_most(4096), pytest.raises(OSError):
    for step in range(10_000):
      writer.write_scalars(step, {'train/loss': 1.0})
  with contextlib.suppress(OSError):
    writer.close()


def test_the_console_log_continues_without_the_log_file(tmp_path, capsys):
  run_log.start(tmp_path)
  with files_of_at_most(10):
    run_log.log.info('longer than ten bytes')
    run_log.stop()
  out, err = capsys.readouterr()
  assert 'longer than ten bytes' in out
  assert not err


def test_metrics_after_the_last_checkpoint_are_dropped(tmp_path):
  lines = [json.dumps({'step': step}) + '\n' for step in range(5)]
  path = tmp_path / 'metrics.jsonl'
  path.write_text(''.join(lines) + '{"step": 5, "tr')
  with run_log.RunLog(tmp_path, 3):
    pass
  assert path.read_text() == ''.join(lines[:4])


@pytest.mark.slow
def test_a_killed_worker_stops_the_run_with_the_cause(config):
  config.data.workers = 1
  train = dataset.open_splits(config.data)['train']
  with setup.training_batches(train, config, start=0) as batches:
    next(batches)
    for child in workers_of(os.getpid()):
      os.kill(child, signal.SIGTERM)  # Sent by a cluster; ignored.
    next(batches)
    for child in workers_of(os.getpid()):
      os.kill(child, signal.SIGKILL)
    with pytest.raises(
      RuntimeError, match=r'SIGKILL.*the same command resumes'
    ):
      for _ in range(100):
        next(batches)


def test_workers_end_with_their_parent(tmp_path):
  """They ignore signals to the process group, but not the end of the parent."""
  (tmp_path / 'reader.py').write_text(
    'import multiprocessing, time\n'
    'from flatten_jax.inputs import workers\n'
    'def read():\n'
    '  workers.start()\n'
    '  print("reading", flush=True)\n'
    '  time.sleep(60)\n'
    'if __name__ == "__main__":\n'
    '  process = multiprocessing.get_context("spawn").Process(target=read)\n'
    '  process.start()\n'
    '  process.join()\n'
  )
  main = subprocess.Popen(
    [sys.executable, 'reader.py'],
    cwd=tmp_path,
    env=os.environ | {'PYTHONPATH': str(REPOSITORY)},
    stdout=subprocess.PIPE,
  )
  with main:
    assert main.stdout.readline() == b'reading\n'
    (child,) = workers_of(main.pid)
    os.kill(child, signal.SIGTERM)
    os.kill(child, signal.SIGINT)
    assert workers_of(main.pid) == [child]
    main.kill()
    assert main.stdout.read() == b''  # No process is left to write.


def workers_of(pid):
  """Returns the process ids of the reading processes of a process."""
  command = ['pgrep', '-P', str(pid), '-f', 'spawn_main']
  out = subprocess.run(command, capture_output=True, check=True).stdout
  return [int(number) for number in out.split()]
