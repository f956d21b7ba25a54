# SPDX-License-Identifier: Apache-2.0
"""report.html is complete, self-contained, and safe to open."""

import dataclasses
import html.parser
import json
import pathlib
import re
import shutil

import numpy as np
import pytest

from configs import common
import flatten_jax as fj
from flatten_jax.checkpoints.checkpoints import RunInfo
from flatten_jax.checkpoints.load import load_config
from flatten_jax.evaluation import metrics, report as tables
from flatten_jax.evaluation.metrics import Predictions, compute_metrics
from flatten_jax.evaluation.results import write_results
from flatten_jax.reporting import examples, html_figures, html_report, words
from tests.support import small_run


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """An evaluated run with a log of three steps and an unreadable video."""
  workdir = small_run.make(tmp_path_factory.mktemp('report'))
  fj.evaluate(None, workdir)
  rows = [
    {'step': 1, 'train/loss': 2.5, 'train/accuracy': 0.25}
    | {'clips_per_second': 80.0, 'input_wait': 3.0},
    {'step': 2, 'train/loss': 1.5, 'train/accuracy': 0.5}
    | {'clips_per_second': 120.0, 'waiting': 5.0},
    {'step': 2, 'val/top1': 40.0},
  ]
  text = ''.join(json.dumps(row) + '\n' for row in rows)
  (workdir / 'metrics.jsonl').write_text(text)
  (workdir / 'unreadable.txt').write_text('/v/<b>.mp4\tthe file is empty\n')
  return workdir


class Page(html.parser.HTMLParser):
  """Text of a page, and whatever it would fetch or run."""

  VOID = ('meta', 'img', 'br')

  def __init__(self, text):
    super().__init__()
    self.text, self.resources, self.open = '', [], []
    self.feed(text)
    styles = re.findall(r'url\((?!data:|#)[^)]*\)|@import.*', text)
    self.resources += styles

  def handle_starttag(self, tag, attributes):
    if tag not in self.VOID:
      self.open.append(tag)
    for name, value in attributes:
      if name in ('src', 'href') and not value.startswith('data:'):
        self.resources.append(value)
    if tag in ('script', 'link', 'iframe'):
      self.resources.append(tag)

  def handle_startendtag(self, tag, attributes):
    pass

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text += data


def test_the_page_shows_everything_and_fetches_nothing(workdir):
  path = fj.report(workdir)
  text = path.read_text()
  page = Page(text)
  assert page.resources == [] and page.open == []
  assert 'http:' not in text and 'https:' not in text
  scores = json.loads((workdir / 'results.json').read_text())['test']
  for shown in (
    f'{scores["top1"]:.2f} %',
    '12 of 12',
    '16x4x1x1',
    '100 clips/s',  # The median of 80 and 120.
    'counter_clockwise',
    'uniformer_test on 4 frames of 16 px',
    'optax',
    'data.sampling',
    '/v/<b>.mp4',
    'the file is empty',
  ):
    assert shown in page.text, shown
  low, high = scores['top1_interval']
  headline = f'top-1, {metrics.hits(scores)}; 95 %: {low:.0f} to {high:.0f}; '
  assert headline + metrics.chance(scores) in page.text
  assert 'Only 12 test videos: the 95 % interval' in page.text
  assert 'Tested: the checkpoint after epoch 0.0, the last one.' in page.text
  line = metrics.summary('test', scores)
  assert line in (workdir / 'report_test.md').read_text()
  assert line in (workdir / 'log.txt').read_text()
  wrong = round(12 * (1 - scores['top1'] / 100))
  right = len([c for c in scores['class_scores'] if c['recall']])
  assert wrong > 3 and text.count('<article') == wrong
  assert text.count('--strip:url(data:image/jpeg') == wrong + min(right, 6)
  assert text.count('--heat:url(data:image/jpeg') == wrong


def test_the_page_of_a_model_without_feature_maps_has_no_heat(
  workdir, monkeypatch
):
  def refuse(*_):
    raise ValueError('Explanations need features')

  monkeypatch.setattr(examples.clip_explanation, 'open_model', refuse)
  text = fj.report(workdir).read_text()
  assert '--strip:url(' in text and '--heat:url(' not in text


def test_the_heat_of_a_class_token_is_called_its_attention(tmp_path, workdir):
  text = fj.report(workdir).read_text()
  assert 'below them, Grad-CAM for the answer.' in text
  other = small_run.make(tmp_path, model='vit_test')
  fj.evaluate(None, other)
  text = fj.report(other).read_text()
  assert 'below them, the attention of the class token.' in text
  assert 'aria-label="attention of the class token"' in text
  assert 'Grad-CAM' not in text


def test_heat_maps_belong_to_the_scored_videos(workdir, monkeypatch):
  seen = []
  monkeypatch.setattr(
    examples, '_clip_and_heat', lambda *args: seen.append(args) or {}
  )
  ours = Predictions.load(workdir / 'predictions_test.npz')
  found = examples.mistakes(ours, 3)
  examples.with_clips(found, 'test', load_config(workdir), workdir)
  assert len(seen) == 3
  for example, _, videos, number, _ in seen:
    assert videos[number].id == example.video == ours.ids[number]


def test_a_page_without_videos_has_everything_else(workdir, tmp_path, caplog):
  shutil.copytree(workdir, tmp_path / 'run')
  folder = workdir.parent / 'clips'
  folder.rename(folder.with_name('away'))
  try:
    text = fj.report(tmp_path / 'run').read_text()
  finally:
    folder.with_name('away').rename(folder)
  assert '<article' in text and 'data:image/jpeg' not in text
  assert 'so there are no frames' in text
  (tmp_path / 'run' / 'metrics.jsonl').unlink()
  assert 'Too little was logged' in fj.report(tmp_path / 'run').read_text()
  (tmp_path / 'run' / 'results.json').unlink()
  with pytest.raises(FileNotFoundError, match='--mode=evaluate'):
    fj.report(tmp_path / 'run')


def many(names, pairs):
  """Predictions of one video for each (label, answer)."""
  logits = np.zeros((len(pairs), len(names)), np.float32)
  for row, (_, answer) in enumerate(pairs):
    logits[row, answer] = 1 + row
  labels = np.array([label for label, _ in pairs])
  ids = np.array([f'{i}.mp4' for i in range(len(pairs))])
  scored = np.ones(len(pairs), bool)
  return Predictions(ids, labels, logits, scored, tuple(names), '16x4x1x1')


EVIL = '<script>alert("x")</script> & \'"'
OLD = 'caf\udce9.mp4'  # From an old disk: not UTF-8.


def page_of(predictions, workdir, folder):
  """The page of a copy of a run, with other results."""
  shutil.copytree(workdir, folder)
  scores = compute_metrics(predictions) | tables.details(predictions)
  scores |= {'gflops_per_view': 1.0, 'params_m': 1.0, 'step': 9}
  write_results(folder, 'test', scores, predictions)
  return fj.report(folder).read_text()


class Saved:
  """Checkpoints after 20 and 50 steps of ten an epoch; the first is better."""

  def __init__(self, *_, **__):
    self.choose, self.best_step = lambda: 50, lambda: 20
    self.scores = {20: {'top1': 75.0}}.get  # The last one has none.

  refit_from = None

  def info(self, step):
    info = RunInfo(('a', 'b'), {}, epoch=step / 10, videos=120)
    return dataclasses.replace(info, refit_from=self.refit_from)

  __enter__ = lambda self: self  # noqa: E731
  __exit__ = lambda *_: None  # noqa: E731


@pytest.mark.parametrize(
  ('which', 'step', 'text'),
  [
    ('last', 50, 'Tested: the checkpoint after epoch 5.0, the last one.'),
    ('best', 20, 'after epoch 2.0, the best of the validations, with 75.00 %.'),
    ('last', 20, ''),  # Another protocol, or a checkpoint that is gone.
    ('refit', 50, 'the last one, of a training on the validation videos too.'),
  ],
)
def test_the_page_tells_which_checkpoint_was_tested(
  monkeypatch, tmp_path, which, step, text
):
  monkeypatch.setattr(html_report.model_folder, 'open_to_read', Saved)
  monkeypatch.setattr(Saved, 'refit_from', 20 if which == 'refit' else None)
  config = common.base()
  config.refit = True  # In a run that was interrupted before it, too.
  config.test_checkpoint = 'best' if which == 'best' else 'last'
  found = html_report._trained(tmp_path, config, {'test': {'step': step}})
  assert text in found['tested'] and bool(text) == bool(found['tested'])
  assert found['videos'] == 120


def test_results_of_earlier_versions_get_their_interval(workdir, tmp_path):
  folder = shutil.copytree(workdir, tmp_path / 'run')
  found = json.loads((folder / 'results.json').read_text())
  for key in ('top1_interval', 'chance', 'chance_class', 'warnings'):
    del found['test'][key]
  (folder / 'results.json').write_text(json.dumps(found))
  text = Page(fj.report(folder).read_text()).text
  assert '; 95 %: ' in text and 'chance' in text


@pytest.mark.parametrize('num_classes', [2, 400])
def test_names_are_escaped_everywhere(workdir, tmp_path, num_classes):
  names = [EVIL, *map(str, range(1, num_classes))]
  ours = many(names, [(0, 1), (1, 0), (0, 0)])
  ours = dataclasses.replace(ours, ids=np.array([EVIL] * 3))
  (workdir / 'unreadable.txt').write_text(f'{EVIL}\tempty\n')
  page = Page(page_of(ours, workdir, tmp_path / 'run'))
  assert page.open == [] and page.resources == []
  # Matrix, pairs, classes, two mistakes with three answers, unreadable videos.
  assert page.text.count(EVIL) >= 9


def test_names_may_have_bytes_that_are_not_utf8(workdir, tmp_path):
  shutil.copytree(workdir, tmp_path / 'run')
  ours = Predictions.load(workdir / 'predictions_test.npz')
  ours = dataclasses.replace(ours, ids=np.array([OLD] * len(ours.ids)))
  ours.save(tmp_path / 'run' / 'predictions_test.npz')
  (tmp_path / 'run' / 'unreadable.txt').write_bytes(b'caf\xe9.avi\tempty\n')
  page = Page(fj.report(tmp_path / 'run').read_text())
  assert r'caf\udce9.mp4' in page.text and r'caf\udce9.avi' in page.text


def test_a_page_of_four_hundred_classes_is_small(tmp_path, workdir):
  names = [f'class {i}' for i in range(400)]
  rng = np.random.default_rng(0)
  ours = many(names, rng.integers(0, 400, (4000, 2)).tolist())
  text = page_of(ours, workdir, tmp_path / 'run')
  assert len(text) < 2e6
  assert text.count('<tr>') < 650 and 'img class="matrix"' in text


def test_a_run_without_mistakes_has_a_page(tmp_path, workdir):
  right = many(['a', 'b'], [(0, 0), (1, 1)])
  text = page_of(right, workdir, tmp_path / 'run')
  assert 'every answer was right' in text
  assert 'No video got a wrong answer' in text
  assert 'top-5' not in text  # It is always 100 % of two classes.


def test_all_protocols_are_on_the_page_the_own_first(workdir, tmp_path):
  folder = shutil.copytree(workdir, tmp_path / 'run')
  other = fj.evaluate(None, folder, '3x2')
  text = Page(fj.report(folder).read_text()).text
  own, rest = text.split('test (shown below)')[1].split('test_3x2')
  top1 = json.loads((folder / 'results.json').read_text())['test']['top1']
  assert 'views 16x4x1x1' in own and f'{top1:.2f} %' in own
  assert 'views 16x4x3x2' in rest and f'{other["top1"]:.2f} %' in rest
  assert f'top-1, {metrics.hits({"scored": 12, "top1": top1})}' in text


def test_results_of_other_protocols_alone_have_a_page(workdir, tmp_path):
  folder = shutil.copytree(workdir, tmp_path / 'run')
  (folder / 'results.json').unlink()  # The training ended before its test.
  (folder / 'predictions_test.npz').unlink()
  fj.evaluate(None, folder, '3x2')
  fj.evaluate(None, folder, '1x2')
  (folder / 'predictions_test_1x2.npz').unlink()  # It may be large.
  text = fj.report(folder).read_text()
  assert 'test_3x2 (shown below)' in text and 'test_1x2' in text
  assert '--strip:url(' in text


def test_a_run_without_test_videos_has_a_page(workdir, tmp_path):
  folder = shutil.copytree(workdir, tmp_path / 'run')
  (folder / 'results.json').unlink()
  page = Page(fj.report(folder).read_text())
  assert page.open == [] and 'Nothing was evaluated' in page.text
  assert '100 clips/s' in page.text


@pytest.mark.parametrize(
  ('scored', 'value', 'shown'),
  [(False, 1.0, 'no video was scored'), (True, np.nan, '0 of 2')],
)
def test_videos_without_an_answer_are_neither_right_nor_wrong(
  workdir, tmp_path, scored, value, shown
):
  ours = many(['a', 'b', 'c'], [(0, 0), (1, 1)])
  ours = dataclasses.replace(
    ours, scored=np.array([scored] * 2), logits=ours.logits * value
  )
  text = Page(page_of(ours, workdir, tmp_path / 'run')).text
  assert shown in text and 'No video has an answer.' in text
  assert 'every answer was right' not in text and 'nan %' not in text
  lacking = 1 if scored else 3
  assert f'{lacking} of 3 classes have no scored video' in text


def test_losses_that_are_not_finite_leave_a_gap(workdir, tmp_path):
  folder = shutil.copytree(workdir, tmp_path / 'run')
  losses = [2.0, float('nan'), float('inf'), 1.0]
  rows = [{'step': i, 'train/loss': x} for i, x in enumerate(losses)]
  text = ''.join(json.dumps(row) + '\n' for row in rows)
  (folder / 'metrics.jsonl').write_text(text)
  assert '<svg' in fj.report(folder).read_text()


def test_the_most_confident_mistakes_come_first():
  ours = many(['a', 'b', 'c'], [(0, 1), (1, 1), (2, 0), (1, 2)])
  found = examples.mistakes(ours, 2)
  assert [m.video for m in found] == ['3.mp4', '2.mp4']
  assert (found[0].labels, found[0].top[0][0]) == (('b',), 'c')
  ten_views = dataclasses.replace(ours, views='32x9x1x10')
  softer = examples.mistakes(ten_views, 2)
  assert softer[0].top[0][1] < found[0].top[0][1]
  right = many(['a', 'b'], [(0, 0), (1, 1)])
  assert examples.mistakes(right, 5) == []


def test_right_answers_are_of_different_classes_most_confident_first():
  ours = many(['a', 'b', 'c'], [(0, 0), (1, 1), (2, 0), (1, 1), (0, 0)])
  found = examples.successes(ours, 6)
  assert [(e.video, *e.labels) for e in found] == [
    ('4.mp4', 'a'),
    ('3.mp4', 'b'),
  ]
  assert all(e.right for e in found)
  assert [e.video for e in examples.successes(ours, 1)] == ['4.mp4']


def test_a_number_has_its_folder_in_the_title():
  assert html_report.title_of(pathlib.Path('/a/runs/1')) == 'runs/1'
  assert html_report.title_of(pathlib.Path('/a/runs/mine')) == 'mine'


def test_a_curve_has_two_points():
  rows = [{'step': 1, 'train/loss': 2.0}, {'step': 1, 'val/top1': 50.0}]
  assert html_figures.training_charts(rows) == []
  rows += [{'step': 2, 'train/loss': np.nan}, {'step': 3, 'train/loss': np.inf}]
  assert html_figures.training_charts(rows) == []
  rows += [{'step': 4, 'train/loss': 1.0}]
  (chart,) = html_figures.training_charts(rows)
  assert chart['title'] == 'Loss' and chart['lines'] == {'training': 'right'}


def test_a_diagram_of_probabilities_has_two_dots():
  entry = {'confidence': 90.0, 'top1': 80.0, 'videos': 5}
  assert not html_figures.reliability_diagram([entry])
  low = entry | {'confidence': 40.0}
  assert '<svg' in html_figures.reliability_diagram([low, entry])


def test_numbers_of_videos_are_shown_if_the_run_has_them(workdir, tmp_path):
  folder = shutil.copytree(workdir, tmp_path / 'run')
  run = json.loads((folder / 'run.json').read_text())
  assert {k: sum(v) for k, v in run['class_videos'].items()} == {
    'train': 12,
    'val': 12,
    'test': 12,
  }
  text = fj.report(folder).read_text()
  assert '<th class="number train">train</th>' in text
  del run['class_videos'], run['config_file']  # Of an earlier version.
  (folder / 'run.json').write_text(json.dumps(run))
  text = fj.report(folder).read_text()
  assert '<th class="number train">' not in text
  assert '--config=configs/folder.py' in text


def test_a_workdir_with_damaged_files_is_told_so(workdir, tmp_path):
  folder = shutil.copytree(workdir, tmp_path / 'run')
  for text in ('{"a"', '[1]'):
    (folder / 'run.json').write_text(text)
    assert Page(fj.report(folder).read_text()).open == []
  (folder / 'predictions_test.npz').unlink()
  with pytest.raises(ValueError, match=r'test\.npz is damaged or missing'):
    fj.report(folder)
  (folder / 'results.json').write_text('[1]')
  assert 'Nothing was evaluated' in fj.report(folder).read_text()


def test_long_names_are_shortened_at_the_matrix(workdir, tmp_path):
  name = 'a very long name of a class ' * 4
  ours = many([name, 'b'], [(0, 0), (1, 0)])
  text = page_of(ours, workdir, tmp_path / 'run')
  assert f'title="{name}">{words.short(name)}</span>' in text
  assert len(words.short(name)) == 40
