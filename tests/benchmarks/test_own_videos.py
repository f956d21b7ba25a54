# SPDX-License-Identifier: Apache-2.0
"""Runs of many systems on filmed videos, and the page that is made of them."""

import argparse
import json
import sys

import numpy as np
import pytest
import scipy.stats

from benchmarks.own_videos import __main__ as command, page, runs, train
from benchmarks.own_videos.intervals import difference, interval
from flatten_jax.evaluation import metrics, report, results
from tests.support.video_maker import moving_square, write_video

CLASSES = ('a', 'b')


def videos(*right):
  """Shares of seeds that were right about the videos v0, v1, ... of fold 0."""
  return {(0, f'v{number}'): share for number, share in enumerate(right)}


def in_groups(size, count):
  return {f'v{number}': f'group {number // size}' for number in range(count)}


# --- Intervals ----------------------------------------------------------------


def test_the_interval_of_many_single_videos_is_wilsons():
  ours = interval(videos(*[1.0] * 700, *[0.0] * 300), {})
  wilson = scipy.stats.binomtest(700, 1000).proportion_ci(method='wilson')
  np.testing.assert_allclose(
    ours, [100 * wilson.low, 100 * wilson.high], atol=0.02
  )


def test_videos_of_a_group_that_are_all_alike_count_as_one():
  answers = [1.0, 1.0, 1.0, 0.0, 0.0, 1.0]
  copies = videos(*np.repeat(answers, 50).tolist())
  assert interval(copies, in_groups(50, 300)) == pytest.approx(
    interval(videos(*answers), {})
  )


def test_groups_that_are_equally_good_do_not_make_more_of_the_videos():
  even = videos(*[1.0, 0.0] * 10)
  # Wilson's with 20 videos, and Student's t of ten groups.
  t = scipy.stats.t.ppf(0.975, 9)
  half = t * np.sqrt(0.25 / 20 + t**2 / 1600) / (1 + t**2 / 20)
  expected = 100 * (0.5 - half), 100 * (0.5 + half)
  assert interval(even, in_groups(2, 20)) == pytest.approx(expected)


@pytest.mark.parametrize('share', [0.0, 1.0])
def test_all_right_and_all_wrong_are_as_sure_as_the_number_of_groups(share):
  low, high = interval(videos(*[share] * 20), in_groups(5, 20))
  t = scipy.stats.t.ppf(0.975, 3)
  width = 100 * t**2 / (4 + t**2)
  expected = (100 - width, 100) if share else (0, width)
  assert (low, high) == pytest.approx(expected)


def test_folds_count_alike_whatever_their_size():
  large = {(0, f'a{number}'): 1.0 for number in range(30)}
  small = {(1, f'b{number}'): 0.0 for number in range(10)}
  low, high = interval(large | small, {})
  assert low + high == pytest.approx(100)


def test_a_difference_by_hand():
  ours, theirs = videos(1.0, 1.0, 0.5, 0.5), videos(0.0, 0.0, 0.5, 0.5)
  # Groups differ by 1 and 0: mean 1/2, standard error 1/2, t 12.706.
  t = scipy.stats.t.ppf(0.975, 1)
  expected = 50, 50 * (1 - t), 50 * (1 + t)
  assert difference(ours, theirs, in_groups(2, 4)) == pytest.approx(expected)


def test_a_difference_is_of_the_videos_that_both_have():
  ours = videos(1.0, 1.0) | {(1, 'x'): 0.0}
  assert difference(ours, videos(0.0, 0.0), {})[0] == 100
  assert difference({(1, 'x'): 0.0}, ours, {})[0] == 0
  assert difference({(2, 'x'): 0.0}, ours, {}) is None


# --- Runs ---------------------------------------------------------------------


def write_run(folder, right, *, fold=0, seed=0, notes=None, gflops=0.5):
  """Writes a finished run, with the ids f0_v0, f0_v1 in fold 0 and so on."""
  folder = folder / f'fold_{fold}_seed_{seed}'
  folder.mkdir(parents=True)
  labels = np.arange(len(right)) % 2
  answers = np.where(right, labels, 1 - labels)
  predictions = metrics.Predictions(
    np.array([f'f{fold}_v{number}' for number in range(len(right))]),
    labels,
    np.eye(2, dtype=np.float32)[answers],
    np.ones(len(right), bool),
    CLASSES,
    '32x9x3x1',
  )
  scores = metrics.compute_metrics(predictions) | report.details(predictions)
  scores |= {'gflops_per_view': gflops, 'params_m': 0.8229, 'name': 'test'}
  scores |= {
    'protocol': {'data': str(folder.parents[3] / 'clips.csv')},
    'step': 9,
  }
  results.write_results(folder, 'test', scores, predictions)
  if notes:
    (folder / runs.NOTES).write_text(json.dumps(notes))
  return folder


@pytest.fixture
def grid(tmp_path):
  """Two folds of two seeds flattened, and one run of random order."""
  lines = ['path,label,fold,person']
  for fold in (0, 1):
    for n in range(4):
      lines.append(f'f{fold}_v{n},{"ab"[n % 2]},{fold},p{fold}{n // 2}')
      (tmp_path / f'f{fold}_v{n}.mp4').touch()
  (tmp_path / 'clips.csv').write_text('\n'.join(lines) + '\n')
  own = tmp_path / 'mine' / 'nano' / 'flatten'
  command = ['/usr/bin/python', 'main.py', '--config=configs/folder.py']
  command += ['--config.data.root=/secret/clips.csv', '--config.data.fold=0']
  command += ['--config.seed=0', '--config.x=(1, 2)', f'--workdir={own}']
  notes = {'command': command, 'seconds': 90.0, 'date': '2026-01-02'}
  folder = write_run(own, [1, 1, 1, 1], notes=notes)
  machine = {'device_kind': 'cpu', 'cpus': 2, 'commit': 'abc1234'}
  model = {'name': 'uniformer_nano', 'pretrained': ''}
  (folder / 'run.json').write_text(
    json.dumps({'config': {'model': model}, 'machine': machine})
  )
  rows = [{'step': n, 'clips_per_second': 10.0 * n} for n in (1, 2, 9)]
  lines = [json.dumps(row) for row in rows]
  (folder / 'metrics.jsonl').write_text('\n'.join(lines) + '\n')
  write_run(own, [1, 1, 1, 0], seed=1)
  write_run(own, [1, 1, 0, 0], fold=1)
  write_run(own, [0, 0, 1, 0], fold=1, seed=1)
  write_run(own.with_name('random'), [1, 0, 1, 0], gflops=5.0)
  (own / 'fold_2_seed_0').mkdir()  # It still trains.
  return tmp_path


def test_mean_and_deviation_by_hand(grid):
  (filmed,) = runs.read(grid)
  flat, mixed = filmed.cells
  assert (flat.way, mixed.way, filmed.name) == ('flatten', 'random', 'mine')
  found = flat.summary
  assert (found.folds, found.seeds) == ((0, 1), (2, 2))
  # Folds: (100 + 75) / 2 and (50 + 25) / 2; seeds: 75 and 50.
  assert found.mean == 62.5
  assert found.deviation == pytest.approx(25 / 2**0.5)
  assert found.videos[0, 'f0_v3'] == 0.5
  people = {
    f'f{fold}_v{n}': f'{fold}{n // 2}' for fold in (0, 1) for n in range(4)
  }
  assert found.interval == interval(found.videos, people)
  assert (mixed.summary.mean, mixed.summary.deviation) == (50, None)
  assert filmed.chance == 50


def test_a_seed_without_every_fold_counts_in_the_mean_only(tmp_path):
  write_run(tmp_path, [1, 1])
  write_run(tmp_path, [0, 1], fold=1)
  write_run(tmp_path, [1, 0], seed=1)
  found = runs.summarize(
    [runs.Finished.read(path) for path in sorted(tmp_path.iterdir())], {}
  )
  assert (found.seeds, found.deviation) == ((1, 2), None)
  assert found.mean == (75 + 50) / 2


def test_the_page_shows_what_there_is(grid, capsys):
  target = grid / 'docs' / 'results.md'
  command.main(['page', f'--out={grid}', f'--page={target}'])
  assert target.with_suffix('.png').stat().st_size > 10_000
  text = target.read_text()
  rows = [' '.join(line.split()) for line in text.splitlines()]
  flat, mixed = (row for row in rows if 'x 3 |' in row)
  assert flat.startswith(
    '| uniformer_nano from scratch | flattened | 2 x 2 | 62.5 ± 17.7 |'
  )
  assert flat.endswith('| 32x9x3x1 | 0.5 x 3 | 0.82 M | 20 | 1.5 |')
  # Each person of the first fold loses 3/8.
  assert mixed.startswith('| nano | random order | 1 of 2 x 1 | 50.0 |')
  assert '| -37.5 (' in mixed
  plain = ' '.join(text.split())
  assert (
    '2 classes, 8 videos of 4 persons; test videos of the folds: 4, 4' in plain
  )
  assert 'the spread of persons' in plain and 'a CPU of 2 cores' in plain
  assert '5 runs, 2026-01-02 to' in text and 'commit abc1234.' in text
  assert '![Accuracy against cost](results.png)' in text


def test_commands_on_the_page_have_no_paths_of_the_machine(grid):
  text = page.markdown(runs.read(grid), 'my machine', 'x.png')
  assert 'secret' not in text and str(grid) not in text
  assert ' '.join(
    text.split('## The commands')[1].replace('\\', '').split()
  ) == (
    'Of every run; SET, FOLD and SEED stand for each of them. '
    'python main.py --config=configs/folder.py '
    '--config.data.root=/videos/SET.csv --config.data.fold=FOLD '
    "--config.seed=SEED '--config.x=(1, 2)' "
    '--workdir=runs/SET/nano/flatten/fold_FOLD_seed_SEED'
  )


def test_runs_of_another_command_have_a_row_too(tmp_path):
  write_run(tmp_path / 'mine' / 'resnet' / 'my_way', [1, 0])
  text = page.markdown(runs.read(tmp_path), '', 'x.png')
  assert '| resnet   | my_way' in text
  assert 'an unknown machine' in text and '## The commands' not in text
  assert 'the spread of' not in text


def test_an_empty_folder_is_refused(tmp_path):
  with pytest.raises(FileNotFoundError, match='No finished run in'):
    page.write(tmp_path, tmp_path / 'page.md')


def test_a_linear_model_tells_a_clip_from_its_reversal(tmp_path, capsys):
  lines = ['path,label,fold']
  for n in range(16):
    frames = moving_square(16, seed=n)[:: (1, -1)[n % 2]]
    write_video(tmp_path / f'{n}.mp4', frames)
    lines.append(f'{n}.mp4,{"ab"[n % 2]},{n // 2 % 2}')
  (tmp_path / 'bad.mp4').write_bytes(b'not a video')
  lines.append('bad.mp4,a,0')
  (tmp_path / 'clips.csv').write_text('\n'.join(lines) + '\n')
  out = tmp_path / 'runs'
  command.main(['linear', f'--out={out}', f'--sets=mine={tmp_path}/clips.csv'])
  assert (
    capsys.readouterr().out == 'mine, fold 0: 100.0 %\nmine, fold 1: 100.0 %\n'
  )
  assert (
    results.tested(out / 'mine/linear/flatten/fold_0_seed_0')[1]['scored'] == 8
  )
  text = page.markdown(runs.read(out), '', 'x.png')
  assert '| linear model on pixels | flattened    |           2 x 1 |' in text
  assert 'ridge regression on eight grey frames' in text


# --- Training -----------------------------------------------------------------


def test_every_system_gets_its_first_run_first(grid, tmp_path, capsys):
  root = grid / 'clips.csv'
  arguments = ['run', f'--out={grid}', f'--sets=mine={root},other={root}']
  arguments += ['--systems=nano', '--ways=flatten,random', '--seeds=0,1']
  command.main([*arguments, '--flags=--config.epochs=2', '--dry-run'])
  lines = capsys.readouterr().out.splitlines()
  ends = [
    line.split('--workdir=')[1].removeprefix(f'{grid}/') for line in lines
  ]
  assert ends == [
    f'{name}/nano/{way}/fold_{fold}_seed_{seed}'
    for seed in (0, 1)
    for fold in (0, 1)
    for way in ('flatten', 'random')
    for name in ('mine', 'other')
  ]
  done = [end for end, line in zip(ends, lines, strict=True) if line[0] == '#']
  assert len(done) == 5 and all('mine' in end for end in done)
  assert lines[3] == (
    f'{sys.executable} main.py --config=configs/folder.py:model=uniformer_nano '
    '--config.model.pretrained= --config.channels=rgb '
    f'--config.flatten=random --config.data.root={root} --config.data.fold=0 '
    '--config.seed=0 --config.order_report=False --config.refit=False '
    '--config.epochs=2 '
    f'--workdir={grid}/other/nano/random/fold_0_seed_0'
  )


@pytest.mark.parametrize(
  ('parse', 'text', 'message'),
  [
    (command.sets, 'mine', "'mine' is not name=list"),
    (command.sets, 'mine=/nowhere/x.csv', 'that exists'),
    (command.choices(train.WAYS), 'flatten,avrage', "'avrage' is none of"),
  ],
)
def test_wrong_arguments_are_named(parse, text, message):
  with pytest.raises(argparse.ArgumentTypeError, match=message):
    parse(text)


SCRIPT = """
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
(folder / 'checkpoints').mkdir()
(folder / 'results.json').write_text(json.dumps({'test': {'top1': 50.0}}))
"""


def run_of(folder, name, script):
  return train.Run(
    folder / name, [sys.executable, '-c', script, f'{folder / name}']
  )


def test_failed_runs_do_not_stop_the_others(tmp_path, capsys):
  first, last = (run_of(tmp_path, name, SCRIPT) for name in 'ac')
  bad = run_of(tmp_path, 'b', 'raise SystemExit("no memory")')
  assert train.train([first, bad, last], jobs=2, keep=False) == 1
  assert first.finished and last.finished and not bad.finished
  assert (bad.folder / 'output.txt').read_text() == 'no memory\n'
  assert not (first.folder / 'checkpoints').exists()
  before = json.loads((first.folder / runs.NOTES).read_text())
  assert before['command'] == first.command and before['seconds'] > 0
  capsys.readouterr()
  # A finished run is not started again, and times add up.
  again = train.Run(bad.folder, run_of(tmp_path, 'b', SCRIPT).command)
  assert train.train([first, again], jobs=1, keep=True) == 0
  assert capsys.readouterr().out.startswith('1 of 2 runs are finished.\n')
  assert json.loads((first.folder / runs.NOTES).read_text()) == before
  assert (bad.folder / 'checkpoints').exists()


def test_an_interrupted_command_stops_its_runs(tmp_path, monkeypatch, capsys):
  started, start = [], train.start_run

  def remember(*args):
    started.append(start(*args))
    return started[-1]

  def interrupt(seconds):
    monkeypatch.undo()  # Once.
    raise KeyboardInterrupt

  monkeypatch.setattr(train, 'start_run', remember)
  monkeypatch.setattr(train.time, 'sleep', interrupt)
  run = run_of(tmp_path, 'a', 'import time; time.sleep(60)')
  with pytest.raises(SystemExit):
    train.train([run], jobs=1, keep=False)
  assert started[0].poll() is not None
  assert 'the same command continues' in capsys.readouterr().out
  assert (run.folder / runs.NOTES).exists()
