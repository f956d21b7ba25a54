# SPDX-License-Identifier: Apache-2.0
"""Tests of progress bars, and of lines without a terminal."""

import io
import logging
import sys
import time

import pytest

from flatten_jax import progress
from flatten_jax.progress import Progress


@pytest.fixture
def often(monkeypatch, caplog):
  """Lines come ten times a second."""
  monkeypatch.setattr(progress, 'SECONDS', 0.1)
  caplog.set_level(logging.INFO, 'flatten_jax')


def test_a_batch_job_gets_lines_while_it_works_and_while_it_waits(
  often, caplog, capsys
):
  with Progress('Storing', 'videos', total=9, initial=5) as bar:
    time.sleep(0.25)
    bar.update(2)
    time.sleep(0.15)
  count = len(caplog.messages)
  time.sleep(0.15)
  assert len(caplog.messages) == count >= 2
  assert caplog.messages[0] == 'Storing: 5 of 9 videos'
  assert caplog.messages[-1].startswith('Storing: 7 of 9 videos, ')
  assert capsys.readouterr() == ('', '')


@pytest.mark.parametrize(
  ('total', 'seconds', 'line'),
  [
    (20_000, 30, 'Evaluating: 5000 of 20000 videos, 167/s, 01:30 left'),
    (9000, 10_000, 'Evaluating: 5000 of 9000 videos, 2 s each, 2:13:20 left'),
    (None, 30, 'Evaluating: 5000 videos, 167/s'),
  ],
)
def test_a_line_has_the_speed_and_the_time_left(total, seconds, line):
  with Progress('Evaluating', 'videos', total=total) as bar:
    bar.update(5000)
    bar._time = lambda: bar.start_t + seconds
    assert bar.line() == line


def test_a_loop_that_fails_or_is_short_leaves_nothing_behind(
  often, caplog, capsys
):
  def fail():
    for number in Progress('Rendering', 'clips', range(9)):
      assert number < 3

  with pytest.raises(AssertionError):
    fail()
  time.sleep(0.3)
  assert capsys.readouterr() == ('', '') and not caplog.messages


def test_without_a_log_the_lines_are_on_stderr(often, monkeypatch, capsys):
  monkeypatch.setattr(logging.Logger, 'hasHandlers', lambda _: False)
  for _ in Progress('Looking', 'files', range(1)):
    time.sleep(0.15)
  assert capsys.readouterr().err == 'Looking: 0 of 1 files\n'


def test_a_terminal_gets_a_bar(monkeypatch, caplog):
  terminal = io.StringIO()
  terminal.isatty = lambda: True
  monkeypatch.setattr(sys, 'stderr', terminal)
  for _ in Progress('Indexing', 'videos', range(9), mininterval=0):
    pass
  assert 'Indexing:  11%|' in terminal.getvalue()
  assert not caplog.messages
