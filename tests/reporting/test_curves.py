# SPDX-License-Identifier: Apache-2.0
"""Curves show what was logged: gaps, repeated steps, runs of any length."""

import json

from matplotlib.figure import Figure
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.reporting import curves
from flatten_jax.runtime.workdir import run_log


def test_smoothing_keeps_constants_lines_and_both_ends():
  np.testing.assert_allclose(curves._smoothed(np.full(5, 3.0), 9), 3)
  np.testing.assert_allclose(curves._smoothed(np.arange(5.0), 3), np.arange(5))
  np.testing.assert_allclose(
    curves._smoothed(np.array([9.0, 3, 0, 3]), 3), [9, 4, 2, 3]
  )


def test_a_loss_that_is_not_finite_is_a_gap_and_nothing_else():
  found = curves._smoothed(np.array([1.0, np.nan, 3, np.inf, 5]), 3)
  np.testing.assert_allclose(found, [1, np.nan, 3, np.nan, 5])


def write(workdir, rows):
  """Writes a training log of (step, loss)."""
  workdir.mkdir()
  lines = [json.dumps({'step': s, 'train/loss': x}) for s, x in rows]
  (workdir / 'metrics.jsonl').write_text('\n'.join(lines) + '\n')
  return workdir


def test_steps_that_were_repeated_after_a_kill_count_once(tmp_path):
  """Killed twice: the second time on a step that was logged before."""
  first = [(1, 9.0), (2, 8.0), (3, 7.0), (4, 6.0)]
  again = [(3, 7.5), (4, 6.5), (5, 5.5)]
  last = [(5, 5.0), (6, 4.0)]
  rows = run_log.read_metrics(write(tmp_path / 'run', first + again + last))
  assert [(row['step'], row['train/loss']) for row in rows] == [
    *((1, 9), (2, 8), (3, 7.5), (4, 6.5), (5, 5), (6, 4)),
  ]


def test_training_and_validation_of_a_step_are_both_kept(tmp_path):
  lines = [{'step': 2, 'train/loss': 1.0}, {'step': 2, 'val/top1': 50.0}]
  text = ''.join(json.dumps(line) + '\n' for line in 2 * lines)
  (tmp_path / 'metrics.jsonl').write_text(text)
  assert run_log.read_metrics(tmp_path) == lines


NAMES = ['a_very_' + 'long_' * 30 + 'name', '打篮球 🏃 $x^2$', 'קצר']


def test_runs_of_other_lengths_and_names_are_drawn_as_logged(
  tmp_path, monkeypatch
):
  lengths = [30, 3, 1]
  runs = [
    write(tmp_path / name, [(i, 3.0 - i / 50) for i in range(1, 1 + length)])
    for name, length in zip(NAMES, lengths, strict=True)
  ]
  drawn = []
  monkeypatch.setattr(
    Figure, 'savefig', lambda figure, *_, **__: drawn.append(figure)
  )
  curves.draw_runs(runs, tmp_path)
  loss = drawn[0].axes[0]
  for number, length in enumerate(lengths):
    raw, thick = loss.lines[2 * number : 2 * number + 2]
    assert len(raw.get_xdata()) == len(thick.get_xdata()) == length
    assert raw.get_linewidth() < thick.get_linewidth()
    np.testing.assert_allclose(thick.get_ydata(), raw.get_ydata())  # A line.
  assert 'mean of 9' in loss.get_ylabel()


def test_runs_without_losses_make_a_picture_without_warnings(tmp_path):
  (tmp_path / 'run').mkdir()
  (tmp_path / 'run' / 'metrics.jsonl').write_text(
    '{"step": 3, "val/top1": 9}\n'
  )
  assert curves.draw_runs([tmp_path / 'run'], tmp_path).exists()


def test_a_run_that_was_only_evaluated_has_no_curve(tmp_path):
  (tmp_path / 'results.json').write_text('{}')
  with pytest.raises(FileNotFoundError, match='has no training log'):
    fj.draw_runs([tmp_path], tmp_path)
