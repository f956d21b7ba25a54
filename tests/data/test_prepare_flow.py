# SPDX-License-Identifier: Apache-2.0
"""Optical flow is computed once, and read as if it were computed then."""

import os
import shutil

import numpy as np
import pytest

from data import flow as flows
from data.annotations import Sources
from data.flow import Flow
from data.media import Treatment
from data.prepare import DATA_SETS, main, prepare
from flatten_jax.inputs import pipeline
from flatten_jax.inputs.flow import fields, prepared_flow
from flatten_jax.inputs.parts import read_clip
from flatten_jax.inputs.sources import dataset, prepared
from flatten_jax.inputs.sources.dataset import Record
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.reader import Reader
from flatten_jax.runtime.configuration import default_config
from tests.support.dataset_maker import Placer
from tests.support.video_maker import damage_frame, moving_square, write_video

SIDE = 32
SETTINGS = default_config.data().to_dict() | {
  **{'num_frames': 2, 'sampling': 'segment', 'holdout': 0.25, 'flow_frames': 3},
  **{'crop': 16, 'num_clips': 2, 'num_crops': 3},
}


def make(videos, out, method='dis', check='first', size=SIDE, **options):
  options = {'progress': False, 'shard_mib': 0.01} | options
  sources = Sources([], [videos])
  flow = Flow(method, size)
  options['treatment'] = Treatment(check)
  return prepare(DATA_SETS['folder'], sources, out, flow=flow, **options)


@pytest.fixture(scope='module')
def videos(tmp_path_factory, originals):
  """Ten videos of two classes, in class folders."""
  root = tmp_path_factory.mktemp('videos')
  names = [f'{label}/{i}.mp4' for label in ('clap', 'wave') for i in range(5)]
  Placer(originals)(root, *names)
  return root


@pytest.fixture(scope='module')
def made(tmp_path_factory, videos):
  """The same as a prepared set with flow."""
  out = tmp_path_factory.mktemp('made') / 'set'
  make(videos, out)
  return out


def batches_of(root, **changes):
  data = SETTINGS | {'root': str(root)} | changes
  videos = dataset.open_splits(data)
  options = {'batch_size': 4, 'threads': 1}
  with pipeline.train_batches(videos['train'], data, seed=0, **options) as b:
    train = [next(b) for _ in range(2)]
  with pipeline.eval_batches(videos['test'], data, **options) as b:
    return train + list(b)


@pytest.mark.parametrize('kind', ['flow', 'rgb+flow'])
@pytest.mark.parametrize('gib', [0.0, 0.1])
def test_prepared_flow_is_that_which_is_computed_while_reading(
  made, videos, kind, gib
):
  options = {'input': kind, 'short_side': SIDE, 'test_short_side': SIDE}
  computed = batches_of(videos, **options)
  stored = batches_of(made, frame_cache_gib=gib, **options)
  assert (computed[0]['clip'] != fields.ZERO).any()
  for ours, theirs in zip(stored, computed, strict=True):
    for key in ours:
      np.testing.assert_array_equal(ours[key], theirs[key], key)


def test_workers_read_prepared_flow(made):
  options = {'input': 'flow', 'short_side': SIDE}
  data = SETTINGS | {'root': str(made)} | options
  videos = dataset.open_splits(data)['train']
  found = []
  for workers in (0, 1):
    with pipeline.train_batches(
      videos, data, seed=0, batch_size=2, workers=workers
    ) as batches:
      found.append(next(batches)['clip'])
  np.testing.assert_array_equal(*found)


def test_flow_is_resized_with_its_values(made):
  data = {'input': 'flow', 'flow_frames': 1, 'flow_method': 'dis'}
  path = prepared.PreparedVideo(str(made), 'videos', 0)
  with Reader(data).open(path, None) as video:
    (whole,) = video.read([2])
  with Reader(data).open(path, SIDE // 2) as video:
    (half,) = video.read([2])
  assert (whole.shape, half.shape) == ((32, 42, 2), (16, 20, 2))
  expected = fields.resize(whole, half.shape[:2])
  np.testing.assert_array_equal(half, expected)
  longest = [np.abs(fields.to_flow(x)).max() for x in (whole, half)]
  assert 0.3 * longest[0] < longest[1] < 0.7 * longest[0]


def test_the_log_tells_of_frames_whose_flow_is_resized(made, caplog):
  data = SETTINGS | {'root': str(made), 'input': 'flow', 'resize': ()}
  same = {'short_side': SIDE, 'test_short_side': SIDE}
  with caplog.at_level('INFO'):
    prepared_flow.check(data | same)
    assert 'resized' not in caplog.text
    prepared_flow.check(data | same | {'test_short_side': 2 * SIDE})
  assert f'frames of {2 * SIDE} px get it resized' in caplog.text


def test_frames_of_one_shape_have_flow_of_that_shape(tmp_path, videos):
  shape = 32, 48
  make(videos, tmp_path / 'set', size=shape)
  options = {'input': 'flow', 'resize': shape, 'test_short_side': 32}
  computed, stored = (
    batches_of(root, **options) for root in (videos, tmp_path / 'set')
  )
  for ours, theirs in zip(stored, computed, strict=True):
    np.testing.assert_array_equal(ours['clip'], theirs['clip'])
  with pytest.raises(FileExistsError, match=r'at 32 x 48 px, not .dis. at 32'):
    make(videos, tmp_path / 'set')


def files_of(out):
  return {path.name: path.stat() for path in (out / 'flow').iterdir()}


def test_an_interrupted_computation_is_resumed(tmp_path, videos, monkeypatch):
  out, make_file = tmp_path / 'set', flows.make_file

  def fails(path, *args):
    if '00001-of' in path:
      raise KeyboardInterrupt
    return make_file(path, *args)

  monkeypatch.setattr(flows, 'make_file', fails)
  with pytest.raises(KeyboardInterrupt):
    make(videos, out)
  before = files_of(out)
  assert len(before) == 2  # The settings, and the first of three files.
  with pytest.raises(ValueError, match=r'2 of 3 files of optical flow are not'):
    batches_of(out, input='flow')
  batches_of(out)  # RGB is complete.
  monkeypatch.setattr(flows, 'make_file', make_file)
  make(videos, out)
  after = files_of(out)
  name = 'videos-00000-of-00003.array_record'
  assert after[name].st_mtime_ns == before[name].st_mtime_ns
  assert len(after) == 4
  batches_of(out, input='flow')


def test_processes_compute_the_same_files(tmp_path, videos, made):
  out = tmp_path / 'set'
  make(videos, out, processes=2)
  names = files_of(out).keys()
  assert names == files_of(made).keys()
  for name in names:
    ours, theirs = ((root / 'flow' / name).read_bytes() for root in (out, made))
    assert ours == theirs


def test_flow_is_added_to_a_complete_set(tmp_path, videos):
  out = tmp_path / 'set'
  sources = Sources([], [videos])
  prepare(DATA_SETS['folder'], sources, out, progress=False, shard_mib=0.01)
  assert not (out / 'flow').exists()
  text = make(videos, out)
  assert "Of 10 videos, optical flow by 'dis' at 32 px" in text


def test_a_complete_set_needs_no_original_videos_for_flow(
  tmp_path, videos, made
):
  copy = tmp_path / 'videos'
  shutil.copytree(videos, copy)
  sources, out = Sources([], [copy]), tmp_path / 'set'
  prepare(DATA_SETS['folder'], sources, out, progress=False, shard_mib=0.01)
  shutil.rmtree(copy)
  with pytest.raises(FileNotFoundError, match='there is no folder'):
    prepare(DATA_SETS['folder'], sources, out, progress=False)
  with pytest.raises(FileExistsError, match=r'treatment: .*first.*all'):
    make(copy, out, check='all')
  make(copy, out)
  for name in files_of(made):
    ours, theirs = ((root / 'flow' / name).read_bytes() for root in (out, made))
    assert ours == theirs


def test_another_method_than_the_prepared_one_is_refused(made, videos):
  with pytest.raises(FileExistsError, match="has optical flow by 'dis' at 32"):
    make(videos, made, method='farneback')
  with pytest.raises(
    ValueError, match=r"by 'dis' at 32 px, not by data\.flow_method"
  ):
    batches_of(made, input='flow', flow_method='farneback')
  batches_of(made, flow_method='farneback')  # RGB needs none.


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--flow=dis', '--flow_size=8'], 'of 16 px or more; got 8.'),
    (['--flow=dis', '--flow_size=9x20x3'], 'or more; got 9x20x3.'),
    (['--flow=dis', '--flow_size=tall'], "or the like, not 'tall'."),
    (['--flow_size=64'], '--flow_size is of --flow'),
  ],
)
def test_wrong_arguments_are_named(
  capsys, videos, tmp_path, arguments, message
):
  given = ['folder', f'--videos={videos}', f'--out={tmp_path / "set"}']
  with pytest.raises(SystemExit):
    main([*given, *arguments])
  assert message in capsys.readouterr().err


def test_damaged_videos_have_the_flow_of_their_sound_frames(tmp_path):
  frames = moving_square(20)
  for name in ('a/cut.mp4', 'a/sound.mp4', 'b/broken.mp4', 'b/one.mp4'):
    count = 1 if 'one' in name else 20
    write_video(tmp_path / 'videos' / name, frames[:count])
  damage_frame(tmp_path / 'videos/a/cut.mp4', 10)
  damage_frame(tmp_path / 'videos/b/broken.mp4', 0)
  out = tmp_path / 'set'
  make(tmp_path / 'videos', out, check='none')
  data = {'input': 'flow', 'flow_frames': 2, 'flow_method': 'dis'}

  def read(name):
    cells = prepared.read_split(str(out), 'videos')
    number = next(int(c['record']) for c in cells if c['file'] == name)
    path = prepared.PreparedVideo(str(out), 'videos', number, name)
    with Reader(data).open(path, SIDE) as video:
      return video.num_frames, video.read([0])

  assert read('sound.mp4')[0] == 20
  assert 1 < read('cut.mp4')[0] < 20
  assert (read('one.mp4')[1] == fields.ZERO).all()
  with pytest.raises(VideoError, match=r'flow/videos\[\d\]: '):
    read('broken.mp4')


def test_parts_behind_the_damage_of_a_video_are_refused(tmp_path):
  path = write_video(tmp_path / 'videos/a/cut.mp4', moving_square(20))
  damage_frame(path, 10)
  write_video(tmp_path / 'videos/b/sound.mp4', moving_square(20))
  write_video(tmp_path / 'videos/b/one.mp4', moving_square(1))
  out = tmp_path / 'set'
  make(tmp_path / 'videos', out, check='none')
  reader = Reader({'input': 'flow', 'flow_frames': 2, 'flow_method': 'dis'})

  def read(name, start, end):
    cells = prepared.read_split(str(out), 'videos')
    number = next(int(c['record']) for c in cells if c['file'] == name)
    path = prepared.PreparedVideo(str(out), 'videos', number, name)
    record = Record('it', path, 0, start, end)
    return read_clip(reader, record, SIDE, lambda part: np.arange(part.length))

  assert len(read('sound.mp4', 0.6, 0.8)[0]) == 5
  assert len(read('one.mp4', 0.0, 0.04)[0]) == 1
  with pytest.raises(VideoError, match='begin after its end'):
    read('cut.mp4', 0.6, 0.8)


def test_a_prepared_set_without_flow_computes_it(tmp_path, videos, made):
  out = tmp_path / 'set'
  sources = Sources([], [videos])
  prepare(DATA_SETS['folder'], sources, out, progress=False)
  options = {'input': 'flow', 'short_side': SIDE, 'test_short_side': SIDE}
  one, other = batches_of(out, **options), batches_of(made, **options)
  np.testing.assert_array_equal(one[0]['clip'], other[0]['clip'])
  assert os.path.isdir(made / 'flow')
