# SPDX-License-Identifier: Apache-2.0
"""Loggers: their files, their errors, services, and classes of users."""

import csv
import json
import logging
import sys
import threading
import types

import numpy as np
import pytest
from tensorboard.backend.event_processing import event_file_loader

from flatten_jax.runtime.configuration import config_rules
from flatten_jax.runtime.workdir import run_log
from flatten_jax.runtime.workdir.loggers import by_name, safe_logger
from flatten_jax.runtime.workdir.loggers.csv_table import CsvWriter
from flatten_jax.runtime.workdir.loggers.metric_writer import MetricWriter

PICTURE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


class Recorder(MetricWriter):
  """A logger of a user: notes every call."""

  made: 'list[Recorder]' = []  # noqa: RUF012

  def __init__(self, workdir):
    self.workdir, self.calls = workdir, []
    Recorder.made.append(self)

  def write_scalars(self, step, scalars):
    self.calls.append((step, dict(scalars)))

  def write_hparams(self, hparams):
    self.calls.append(hparams)

  def fail(self):
    self.calls.append('fail')

  def close(self):
    self.calls.append('close')


class Broken(MetricWriter):
  """A logger without a network."""

  def __init__(self, workdir):
    self.calls = 0

  def write_scalars(self, step, scalars):
    self.calls += 1
    raise ConnectionError('no route to host')


class Unopened(MetricWriter):
  """A service that nobody is logged in to."""

  def __init__(self, workdir):
    raise OSError('log in first')


@pytest.fixture
def warnings_of(monkeypatch, caplog):
  monkeypatch.setattr(run_log.log, 'propagate', True)
  caplog.set_level(logging.WARNING, 'flatten_jax')
  return caplog


def table(path):
  with path.open(newline='') as file:
    return list(csv.DictReader(file))


def test_a_table_has_a_row_a_step_and_a_column_a_metric(tmp_path):
  writer = CsvWriter(tmp_path / 'metrics.csv')
  writer.write_scalars(2, {'train/loss': 2.5, 'lr': 0.1})
  writer.write_scalars(4, {'train/loss': 1.5, 'lr': 0.2})
  writer.write_scalars(4, {'val/top1': 50.0})
  writer.write_scalars(6, {'train/loss': 0.5, 'lr': 0.3})
  assert (tmp_path / 'metrics.csv').read_text() == (
    'step,train/loss,lr,val/top1\n2,2.5,0.1,\n4,1.5,0.2,50.0\n6,0.5,0.3,\n'
  )
  writer.write_scalars(4, {'test/top1': 25.0})  # The best checkpoint's.
  rows = table(tmp_path / 'metrics.csv')
  assert [row['step'] for row in rows] == ['2', '4', '6']
  assert [row['test/top1'] for row in rows] == ['', '25.0', '']


def test_a_table_survives_a_kill_and_a_resume(tmp_path):
  path = tmp_path / 'metrics.csv'
  path.write_text('step,a,b\n2,1.0,\n4,2.0,7.0\n6,3.0,\n8,4')
  writer = CsvWriter(path, first_step=4)
  assert path.read_text() == 'step,a,b\n2,1.0,\n4,2.0,7.0\n'
  writer.write_scalars(6, {'a': 3.5})
  assert path.read_text().endswith('4,2.0,7.0\n6,3.5,\n')
  CsvWriter(path)  # A run that begins again.
  assert not path.exists()


def test_a_table_that_begins_with_a_resume_has_the_steps_before(tmp_path):
  with run_log.RunLog(tmp_path, loggers=()) as board:
    board.write(2, {'train/loss': 2.5})
    board.write(3, {'val/top1': 50.0})
    board.write(4, {'train/loss': 1.0})
  with run_log.RunLog(tmp_path, 3, ('csv',)) as board:
    board.write(4, {'train/loss': 1.5})
  rows = table(tmp_path / 'metrics.csv')
  assert [row['step'] for row in rows] == ['2', '3', '4']
  assert [row['train/loss'] for row in rows] == ['2.5', '', '1.5']


def test_tensorboard_gets_pictures_and_the_config(tmp_path):
  with run_log.RunLog(tmp_path) as board:
    board.write_config({'data.crop': 16, 'lr': 0.1, 'grid': (2, 4)})
    board.write_images(1, {'a': PICTURE, 'b': np.stack([PICTURE] * 2)})
  (file,) = (tmp_path / 'tensorboard').iterdir()
  events = list(event_file_loader.EventFileLoader(str(file)).Load())
  values = [value for event in events for value in event.summary.value]
  tags = [value.tag for value in values]
  assert tags == ['_hparams_/session_start_info', 'a', 'b/0', 'b/1']
  content = values[0].metadata.plugin_data.content
  assert b'data.crop' in content and b'(2, 4)' in content
  # The loader turns a picture into width, height and the PNG.
  assert list(values[1].tensor.string_val[:2]) == [b'6', b'4']
  assert values[1].tensor.string_val[2].startswith(b'\x89PNG')


def test_a_class_of_the_user_gets_all_and_its_errors_are_said_once(
  tmp_path, warnings_of
):
  ours = tuple(f'{__name__}:{name}' for name in ('Broken', 'Recorder'))
  by_name.check(ours)
  Recorder.made.clear()
  with run_log.RunLog(tmp_path, loggers=ours) as board:
    board.write_config({'lr': 0.1})
    for step in (1, 2):
      board.write(step, {'train/loss': 1.0})
  (recorder,) = Recorder.made
  assert recorder.workdir == str(tmp_path)
  assert recorder.calls == [
    {'lr': 0.1},
    (1, {'train/loss': 1.0}),
    (2, {'train/loss': 1.0}),
    'close',
  ]
  (line,) = warnings_of.messages
  assert 'Broken' in line and 'no route to host' in line
  assert len(run_log.read_metrics(tmp_path)) == 2


@pytest.mark.parametrize(
  ('error', 'calls'),
  [
    (ValueError, ['fail', 'close']),
    (KeyboardInterrupt, ['fail', 'close']),
    (SystemExit(0), ['close']),
  ],
)
def test_a_run_that_fails_is_marked(tmp_path, error, calls):
  Recorder.made.clear()
  with (
    pytest.raises(BaseException),  # noqa: B017
    run_log.RunLog(tmp_path, loggers=(f'{__name__}:Recorder',)),
  ):
    raise error
  assert Recorder.made[0].calls == calls


def test_a_logger_that_hangs_does_not_stop_the_run(
  tmp_path, warnings_of, monkeypatch
):
  monkeypatch.setattr(safe_logger, 'PATIENCE', 0.05)
  monkeypatch.setattr(safe_logger, 'WAITING', 3)
  called, back = threading.Event(), threading.Event()

  def write_scalars(*_):
    called.set()
    back.wait()

  hanging = types.SimpleNamespace(
    write_scalars=write_scalars, close=lambda: None
  )
  logger = safe_logger.SafeLogger('slow', hanging, background=True)
  waits: list[float] = []
  monkeypatch.setattr(logger._thread, 'join', waits.append)
  logger.send('write_scalars', 0, {})
  called.wait()
  for step in range(1, 9):
    logger.send('write_scalars', step, {})
  logger.close()
  back.set()
  assert waits == [0.0]  # `PATIENCE` has passed at the full queue.
  (line,) = warnings_of.messages
  assert "'slow' lost values (3 calls wait for it)" in line


def test_a_logger_that_cannot_be_opened_stops_the_run_at_the_start(tmp_path):
  with pytest.raises(RuntimeError, match=r'cannot be opened: log in first'):
    run_log.RunLog(tmp_path, loggers=('csv', f'{__name__}:Unopened'))


@pytest.mark.parametrize('name', ['wandb', 'mlflow'])
def test_a_missing_library_is_one_clear_line(name, monkeypatch):
  monkeypatch.setitem(sys.modules, name, None)
  with pytest.raises(RuntimeError, match=f'pip install {name}'):
    by_name.check(('tensorboard', name))


@pytest.mark.parametrize('value', ['csv', ('cvs',), ('csv', 3), 0])
def test_names_of_loggers_are_checked(value):
  with pytest.raises(ValueError, match=r'tensorboard, csv, wandb, mlflow'):
    config_rules.check('loggers', value)
  config_rules.check('loggers', ('csv', 'my_module:my_class'))
  config_rules.check('loggers', ())


class StandInRun:
  """The part of a run of wandb that is used."""

  def __init__(self, options):
    self.options, self.rows, self.code = options, [], None
    self.config = types.SimpleNamespace(update=self.update)
    self.values = {}

  def update(self, values, allow_val_change):
    assert allow_val_change
    self.values |= values

  def define_metric(self, name, step_metric=None):
    pass

  def log(self, row):
    self.rows.append(row)

  def finish(self, exit_code):
    self.code = exit_code


def test_wandb_continues_its_run_after_a_resume(tmp_path, monkeypatch):
  runs = []

  def init(**options):
    runs.append(StandInRun(options))
    return runs[-1]

  module = types.ModuleType('wandb')
  module.init, module.Image = init, lambda pixels: pixels.shape
  monkeypatch.setitem(sys.modules, 'wandb', module)
  monkeypatch.delenv('WANDB_PROJECT', raising=False)
  for first in (0, 2):
    with run_log.RunLog(tmp_path, first, ('wandb',)) as board:
      board.write_config({'lr': 0.1})
      board.write(first + 1, {'train/loss': 1.0})
      board.write_images(first + 1, {'a': PICTURE})
  one, two = runs
  assert one.options['id'] == two.options['id'] and one.options['id']
  assert one.options['resume'] == 'allow'
  assert one.options['project'] == 'flatten_jax'
  assert two.rows == [
    {'train/loss': 1.0, 'step': 3},
    {'a': (4, 6, 3), 'step': 3},
  ]
  assert one.values == {'lr': 0.1} and one.code == 0
  saved = json.loads((tmp_path / 'loggers.json').read_text())
  assert saved == {'wandb': one.options['id']}


def test_wandb_itself_works_offline(tmp_path, monkeypatch):
  pytest.importorskip('wandb')
  monkeypatch.setenv('WANDB_MODE', 'offline')
  for first in (0, 2):
    with run_log.RunLog(tmp_path, first, ('wandb',)) as board:
      board.write_config({'lr': 0.1 + first})
      board.write(first + 1, {'train/loss': 1.0})
      board.write_images(first + 1, {'train/a': PICTURE})
  folders = list((tmp_path / 'wandb').glob('offline-run-*'))
  run_id = json.loads((tmp_path / 'loggers.json').read_text())['wandb']
  assert folders and all(path.name.endswith(run_id) for path in folders)


@pytest.mark.filterwarnings('default')  # Of its own parts.
def test_mlflow_itself_continues_a_run_in_a_local_store(tmp_path, monkeypatch):
  mlflow = pytest.importorskip('mlflow')
  before = mlflow.get_tracking_uri()
  mlflow.set_tracking_uri(f'sqlite:///{tmp_path}/mlflow.db')
  monkeypatch.chdir(tmp_path)
  for first in (0, 2):
    with run_log.RunLog(tmp_path, first, ('mlflow',)) as board:
      board.write_config({'lr': 0.1 + first, 'data.crop': 16})
      board.write(first + 1, {'train/loss': 1.0 + first})
      board.write_images(first + 1, {'train/a': PICTURE})
  run_id = json.loads((tmp_path / 'loggers.json').read_text())['mlflow']
  client = mlflow.MlflowClient()
  run = client.get_run(run_id)
  assert run.info.status == 'FINISHED'
  assert run.data.params == {'lr': '0.1', 'data.crop': '16'}
  history = client.get_metric_history(run_id, 'train/loss')
  assert [(m.step, m.value) for m in history] == [(1, 1.0), (3, 3.0)]
  assert len(client.list_artifacts(run_id, 'pictures')) == 2
  mlflow.set_tracking_uri(before)
