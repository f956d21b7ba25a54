# SPDX-License-Identifier: Apache-2.0
"""Explanations show what was scored, at the right place."""

import dataclasses
import json
import shutil

import av
import jax
import ml_collections
import numpy as np
from PIL import Image
import pytest

import flatten_jax as fj
from flatten_jax.checkpoints import load
from flatten_jax.explanation import (
  animation,
  clip_explanation,
  explain,
  feature_maps,
  figures,
  motion,
  pictures,
  video_choice,
)
from flatten_jax.inputs.sources.dataset import Record, Videos
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.reporting import curves, inspect_inputs
from flatten_jax.runtime import context
from flatten_jax.runtime.workdir import run_log
from tests.support import small_run


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """run/ of a flattened model, video/ of one that takes clips, and clips/."""
  folder = tmp_path_factory.mktemp('explain')
  small_run.make(folder)
  small_run.make(folder, 'video', 'uniformer3d_test')
  return folder


@pytest.mark.slow
def test_a_workdir_is_enough_to_draw_a_run(folder):
  found = fj.explain(folder / 'run', videos=2, against=folder / 'video')

  assert json.loads((folder / 'run/explain/explain.json').read_text()) == found
  assert len(found['videos']) == 2
  assert found['videos'][0]['right'] is False  # Untrained, it has mistakes.
  assert len(found['heat_on_motion']['stages']) == 4
  assert 0 < found['heat_on_motion']['chance'] < 1
  names = ['against_video.png', 'attention.png', 'feature_maps.png']
  names += ['heat.gif', 'heat.mp4', 'heat.png', 'layouts.png']
  for row in found['videos']:
    assert row['stage'] == 1
    assert [path.rpartition('/')[2] for path in row['pictures']] == names
    for path in row['pictures']:
      assert_is_a_picture(folder / 'run/explain' / path)
  log = (folder / 'run/log.txt').read_text()
  assert 'x chance' in log
  assert f'{found["videos"][0]["id"]}: is ' in log


def assert_is_a_picture(path):
  if path.suffix == '.mp4':
    with av.open(str(path)) as video:
      assert len(list(video.decode(video=0))) == 4
    return
  with Image.open(path) as image:
    assert image.width > 300
    assert getattr(image, 'n_frames', 1) == (4 if path.suffix == '.gif' else 1)
    assert len(image.convert('RGB').getcolors(10**7)) > 20


def test_a_video_model_explains_a_file(folder):
  path = next((folder / 'clips/test/left').iterdir())
  found = fj.explain(folder / 'video', files=[path], stage=2)
  (row,) = found['videos']
  assert row['id'] == path.name
  assert row['label'] is None
  assert row['stage'] == 2
  assert f'{path.stem}/attention.png' in row['pictures']


def test_an_unreadable_video_is_logged_and_left_out(
  folder, tmp_path, monkeypatch
):
  drawn = []
  monkeypatch.setattr(
    explain.pictures, 'draw', lambda folder, *_: drawn.append(folder.name)
  )
  for name in ('b/1.mp4', 'b/1.avi', 'a/1.mp4'):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    shutil.copy(next((folder / 'clips/test/left').iterdir()), tmp_path / name)
  (tmp_path / 'b/broken.mp4').touch()
  found = fj.explain(folder / 'run', files=[tmp_path])
  ids = [row['id'] for row in found['videos']]
  assert ids == ['a/1.mp4', 'b/1.avi', 'b/1.mp4']
  assert drawn == ['a_1', 'b_1', 'b_1_2']

  # A mistake may be unreadable since it was scored, or for the other run.
  def explain_clip(model, videos, index, place=None):
    if index == 3 or place == 5:
      raise VideoError(videos[index].path, 'gone')
    return clip_explanation.explain_clip(model, videos, index, place)

  monkeypatch.setattr(video_choice, 'known_mistakes', lambda *_: [3, 5])
  monkeypatch.setattr(explain, 'explain_clip', explain_clip)
  drawn.clear()
  found = fj.explain(folder / 'run', videos=4)
  assert len(found['videos']) == len(drawn) == 3
  assert found['heat_on_motion']['videos'] == 11
  assert '/test/' in (folder / 'run/log.txt').read_text().splitlines()[-12]


def test_folders_of_pictures_have_different_names():
  names = ['a/b.mp4', 'a_b.mp4', 'A/B.avi', '._.mp4', 'x' * 300 + '/y.mp4']
  found = pictures.folder_names(names)
  assert found[:4] == ['a_b', 'a_b_2', 'A_B_3', 'video']
  assert len(found[4]) == 80 and found[4].endswith('x_y')


def test_wrong_arguments_are_refused(folder, tmp_path):
  run = folder / 'run'
  with pytest.raises(ValueError, match=r"no video 'x' among 12; .*clockwise"):
    fj.explain(run, videos=['x'])
  with pytest.raises(FileNotFoundError, match=r'There is no video .*absent'):
    fj.explain(run, files=[tmp_path / 'absent.mp4'])
  (tmp_path / 'empty.mp4').touch()
  with pytest.raises(ValueError, match='None of 1 videos can be read'):
    fj.explain(run, files=[tmp_path / 'empty.mp4'])
  assert 'empty.mp4: the file is empty' in (run / 'log.txt').read_text()
  with pytest.raises(ValueError, match='stage must be from 1 to 4'):
    fj.explain(run, stage=5)


@pytest.mark.parametrize('layout', ['random', 'nested'])
def test_explanations_see_what_is_scored(folder, layout, monkeypatch):
  config = load.load_config(folder / 'run')
  config.flatten = layout
  # As if it were the config of the training.
  monkeypatch.setattr(clip_explanation, 'load_config', lambda _, config: config)
  if layout == 'nested':
    config.data.num_frames, config.data.crop = 16, 8
  model = clip_explanation.open_model(folder / 'run', config)
  videos = context.open_videos(config)['test']
  look = clip_explanation.explain_clip(model, videos, 5)
  batch = {'clip': look.clip[None], 'view': np.zeros(1, np.int32)}
  batch |= {'index': np.array([5], np.int32), 'mask': np.ones(1, bool)}
  batch = {key: value.repeat(8, axis=0) for key, value in batch.items()}
  scored = load.load_model(folder / 'run', config)(batch)['logits'][0]
  np.testing.assert_allclose(
    look.probabilities, jax.nn.softmax(scored), rtol=1e-4, atol=1e-6
  )
  by_itself = dataclasses.replace(videos, records=(videos[5],))
  again = clip_explanation.explain_clip(model, by_itself, 0, place=5)
  np.testing.assert_array_equal(again.order, look.order)
  if layout == 'random':  # The place in the split determines it.
    assert (
      clip_explanation.explain_clip(model, by_itself, 0).order != look.order
    ).any()
  cells = np.asarray(look.inputs['images'][0]).mean(axis=-1)
  frames = look.onto_frames(cells)  # A map of each pixel.
  shown = look.clip.mean(axis=-1)
  correlation = np.corrcoef(frames.ravel(), shown.ravel())[0, 1]
  assert correlation > 0.999


def test_heat_on_moving_pixels_only_has_share_one():
  clip = np.zeros((4, 32, 32, 3), np.uint8)
  for t in range(4):
    clip[t, 8:12, 4 * t : 4 * t + 4] = 255
  moving = motion.moving_pixels(clip)
  assert moving[1, 7:13, 0:13].all()  # Three positions, dilated.
  assert moving[1].sum() == 6 * 13
  assert motion.share_on(moving, clip[..., 0].astype(float)) == 1
  even = np.ones((4, 32, 32))
  assert motion.share_on(moving, even) == pytest.approx(moving.mean())
  assert motion.share_on(moving, 0 * even) is None
  assert not motion.moving_pixels(0 * clip).any()


def test_halved_time_is_interpolated():
  values = np.array([0.0, 2.0, 6.0], np.float32).reshape(3, 1, 1)
  frames = feature_maps.onto_frames(values, None, (1, 1), 6, side=2)
  np.testing.assert_allclose(frames[:, 0, 0], [0, 1, 2, 4, 6, 6])


def test_a_segment_of_five_frames_is_at_its_middle_one():
  values = np.array([0.0, 5.0], np.float32).reshape(2, 1, 1)
  frames = feature_maps.onto_frames(values, None, (1, 1), 10, side=2)
  expected = [0, 0, 0, 1, 2, 3, 4, 5, 5, 5]
  np.testing.assert_allclose(frames[:, 0, 0], expected, rtol=1e-6)


def test_heat_stays_in_its_frame():
  heat = np.zeros((4, 4), np.float32)
  heat[1, 1] = 1.0  # The lower right of the first cell.
  order = np.array([2, 0, 1, 3])
  frames = feature_maps.onto_frames(heat, order, (2, 2), 4, side=8)
  assert [frame.max() > 0 for frame in frames] == [False, False, True, False]


def test_curves_of_runs_and_of_folders_of_runs(tmp_path):
  for name in ('a/run', 'b/seed_0', 'b/seed_1'):
    (tmp_path / name).mkdir(parents=True)
    rows = [{'step': i, 'train/loss': 2.0 / i} for i in (1, 2, 3)]
    text = '\n'.join(map(json.dumps, rows))
    (tmp_path / name / 'metrics.jsonl').write_text(text)
  runs = [tmp_path / 'a/run', tmp_path / 'b']
  assert_is_a_picture(fj.draw_runs(runs, tmp_path / 'new'))
  with pytest.raises(FileNotFoundError, match=r'metrics\.jsonl'):
    fj.draw_runs([tmp_path / 'new'], tmp_path)
  with pytest.raises(ValueError, match='--run=FOLDER for each'):
    fj.draw_runs([], tmp_path)
  with pytest.raises(ValueError, match='twice'):
    fj.draw_runs([runs[0], runs[0]], tmp_path)


def test_curves_of_runs_without_common_steps_and_of_a_killed_run(tmp_path):
  for name, steps in (('seed_0', (1, 2)), ('seed_1', (5, 6, 7))):
    (tmp_path / 'a' / name).mkdir(parents=True)
    rows = [{'step': step, 'train/loss': 2.0} for step in steps]
    text = '\n'.join(map(json.dumps, rows)) + '\n{"step": 8, "tr'
    (tmp_path / 'a' / name / 'metrics.jsonl').write_text(text)
  assert len(run_log.read_metrics(tmp_path / 'a/seed_1')) == 3
  assert_is_a_picture(fj.draw_runs([tmp_path / 'a'], tmp_path))


def test_any_name_can_be_drawn(folder, tmp_path):
  name = 'no $\\formula$ of caf\udce9'  # Not a formula, and not UTF-8.
  model = clip_explanation.open_model(folder / 'run')
  videos = context.open_videos(model.config)['test']
  look = clip_explanation.explain_clip(model, videos, 0)
  look = dataclasses.replace(look, id=name)
  for path in pictures.draw(tmp_path / 'pictures', [(name, look)] * 2, 1):
    assert_is_a_picture(tmp_path / path)
  figures.draw_strips(tmp_path / 'a.png', [(name, look.clip)], name)
  inspect_inputs.draw(tmp_path / 'b.png', [(look.clip, [name] * 4)], 32)
  (tmp_path / 'metrics.jsonl').write_text('{"step": 1, "train/loss": 2.0}\n')
  curves.draw_curves({name: [tmp_path]}, tmp_path / 'c.png')


def test_pictures_of_an_earlier_explanation_are_not_listed(folder, tmp_path):
  model = clip_explanation.open_model(folder / 'run')
  videos = context.open_videos(model.config)['test']
  look = clip_explanation.explain_clip(model, videos, 0)
  target = tmp_path / 'video'
  target.mkdir()
  for name in ('against_two.png', 'notes.txt'):
    (target / name).touch()
  found = pictures.draw(target, [('run', look)], 1)
  there = {f'video/{path.name}' for path in target.iterdir()}
  assert len(found) == len(set(found)) == 6
  assert there - set(found) == {'video/against_two.png', 'video/notes.txt'}


def test_an_exact_id_comes_before_one_without_its_suffix():
  names = ('P01_01', 'P01_01.2', 'a/b.mp4', 'a/b.avi')
  videos = Videos(tuple(Record(name, name, 0) for name in names), ('x',))
  assert video_choice.find_ids(videos, ['P01_01', 'P01_01.2']) == [0, 1]
  assert video_choice.find_ids(videos, (x for x in names)) == [0, 1, 2, 3]
  with pytest.raises(ValueError, match=r"there are 'a/b\.mp4', 'a/b\.avi'"):
    video_choice.find_ids(videos, ['a/b'])
  with pytest.raises(ValueError, match=r'ids of videos, .*; got none'):
    video_choice.find_ids(videos, [])


def test_without_readable_predictions_no_mistake_is_known(tmp_path, caplog):
  videos = Videos((Record('a', 'a', 0),), ('x',))
  assert video_choice.known_mistakes(tmp_path, 'test', videos, 1) == []
  assert not caplog.text
  (tmp_path / 'predictions_test.npz').write_bytes(b'PK')
  assert video_choice.known_mistakes(tmp_path, 'test', videos, 1) == []
  assert 'predictions_test.npz is damaged or missing' in caplog.text


def test_names_found_with_or_without_a_suffix(folder):
  config = load.load_config(folder / 'run')
  videos = context.open_videos(config)['test']
  assert video_choice.find_ids(videos, [videos[3].id, 'up/up_00000'])[0] == 3


NAME = 'a_long_name_' * 12


def test_names_of_any_length_leave_a_picture_its_width(tmp_path):
  clip = np.zeros((9, 16, 16, 3), np.uint8)
  widths = set()
  for name in ('short', NAME, 20 * 'some words '):
    strips = [('clip', clip), (f'Grad-CAM,\nstage 1,\nfor {name}', clip)]
    figures.draw_strips(tmp_path / 'strips.png', strips, f'{name}: is {name}')
    animation.write_animation(tmp_path / 'clip', [clip], name)
    with Image.open(tmp_path / 'strips.png') as strips_image:
      widths.add(round(strips_image.width, -2))
    with Image.open(tmp_path / 'clip.gif') as moving:
      assert moving.width < 250
  assert len(widths) == 1


def test_an_animation_has_the_letters_of_any_script(tmp_path):
  clip = np.full((1, 16, 16, 3), 255, np.uint8)
  heads = []
  for name in ('\u0436\u0434\u0439', '\u0434\u0436\u0439'):
    animation.write_animation(tmp_path / 'clip', [clip], 3 * f'{name} g ')
    with Image.open(tmp_path / 'clip.gif') as image:
      heads.append(np.asarray(image.convert('L'))[:-193])
  assert (heads[0] != heads[1]).any()  # No boxes, which are all alike.
  assert (heads[0][-3:] == 255).all() and (heads[0] < 128).any()


def test_each_run_is_named_by_its_own_stage(folder, tmp_path, monkeypatch):
  model = clip_explanation.open_model(folder / 'run')
  videos = context.open_videos(model.config)['test']
  look = clip_explanation.explain_clip(model, videos, 0)
  fewer = dataclasses.replace(
    look, maps=look.maps[:2], evidence=look.evidence[:2]
  )
  token = dataclasses.replace(look, maps=[], evidence=look.evidence[:1])
  headings = []
  monkeypatch.setattr(
    pictures.figures, 'draw_strips', lambda *args: headings.append(args[-1])
  )
  pictures._draw_against(tmp_path, [('a', look), ('b', fewer)], 4)
  pictures._draw_against(tmp_path, [('a', look), ('c', token)], 2)
  first, second = headings
  assert ': Grad-CAM of stage 4, Grad-CAM of stage 2 (label: ' in first
  assert ': Grad-CAM of stage 2, attention of the class token (' in second


def test_videos_of_several_labels_have_all_in_the_row_and_the_title(folder):
  model = clip_explanation.open_model(folder / 'run')
  videos = context.open_videos(model.config)['test']
  config = ml_collections.ConfigDict(model.config)
  config.data.multi_label = True
  model = dataclasses.replace(
    model,
    experiment=dataclasses.replace(
      model.experiment, config=ml_collections.FrozenConfigDict(config)
    ),
  )
  rows, titles = [], []
  first = clip_explanation.explain_clip(model, videos, 0).predicted
  other, third = (first + 1) % 12, (first + 2) % 12
  for labels in ((first, other), (other, third), (), None):
    record = dataclasses.replace(videos[0], label=-1, labels=labels)
    one = Videos((record,), videos.class_names, multi_label=True)
    look = clip_explanation.explain_clip(model, one, 0)
    rows.append(explain.describe(look))
    titles.append(pictures.title(look))
  names = model.class_names
  assert [row['labels'] for row in rows] == [
    [names[first], names[other]],
    [names[other], names[third]],
    [],
    None,
  ]
  assert [row['right'] for row in rows] == [True, False, None, None]
  assert f'is {names[first]}, {names[other]}, predicted' in titles[0]
  assert f' %), {names[third]} (' in titles[1]
  assert ' is ' not in titles[2] + titles[3]


def test_another_run_of_other_classes_is_refused_before_drawing(
  folder, monkeypatch
):
  open_model = explain.open_model

  def with_other_classes(workdir, *config):
    model = open_model(workdir, *config)
    if config:
      return model
    names = tuple(f'other {name}' for name in model.class_names)
    experiment = dataclasses.replace(model.experiment, class_names=names)
    return dataclasses.replace(model, experiment=experiment)

  monkeypatch.setattr(explain, 'open_model', with_other_classes)
  monkeypatch.setattr(explain, '_explain_all', None)  # It is not reached.
  with pytest.raises(ValueError, match=r'test \(run\) videos have 12 classes'):
    fj.explain(folder / 'run', videos=1, against=folder / 'run')
