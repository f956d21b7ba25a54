# SPDX-License-Identifier: Apache-2.0
"""An index describes videos, notices changed files, and alters no clip."""

import json
import os
import pickle
import time

import numpy as np
import pytest

from flatten_jax.inputs import parts
from flatten_jax.inputs.pipeline import eval_batches, train_batches
from flatten_jax.inputs.sources import dataset, index_builder, video_index
from flatten_jax.inputs.sources.dataset import Record, Videos
from flatten_jax.inputs.sources.index_builder import build
from flatten_jax.inputs.video import read as video_reading, reader, time_limit
from flatten_jax.inputs.video.frame_files.frame_folder import FramesPath
from flatten_jax.inputs.video.read import VideoError, probe
from flatten_jax.inputs.video.reader import Reader
from tests.support.video_maker import (
  damage_frame,
  moving_square,
  write_frames,
  write_video,
)


@pytest.fixture
def folder(tmp_path):
  """Makes videos with B-frames, without an index, rotated, and broken."""
  gop = {'g': '6', 'bf': '2'}
  write_video(tmp_path / 'a.mp4', moving_square(20), options=gop)
  write_video(tmp_path / 'b.mkv', moving_square(15), options=gop)
  write_video(tmp_path / 'c.ts', moving_square(12), options=gop)
  write_video(tmp_path / 'd.mp4', moving_square(9), rotation=90)
  (tmp_path / 'no.mp4').write_text('<html>')
  (tmp_path / 'empty.mp4').touch()
  return tmp_path


def make(folder, **options):
  paths = sorted(str(path) for path in folder.iterdir() if path.is_file())
  paths.append(str(folder / 'absent.mp4'))
  file = folder / 'index' / 'videos.jsonl'
  return build(paths, file, progress=False, threads=2, **options)


def read(reader, path, frames=(0, 7, 3), short_side=None):
  with reader.open(path, short_side) as video:
    return video.read(frames)


@pytest.mark.parametrize('full', [False, True])
def test_an_index_agrees_with_a_probe(folder, full):
  index = make(folder, full=full)
  assert len(index) == 7
  for name in ('a.mp4', 'b.mkv', 'c.ts', 'd.mp4'):
    entry, info = index.get(folder / name), probe(folder / name)
    assert not entry.cause
    for key, value in vars(info).items():
      assert getattr(entry, key) == pytest.approx(value), (name, key)
  assert 'no video' in index.get(folder / 'no.mp4').cause
  assert index.get(folder / 'empty.mp4').cause == 'the file is empty'
  assert index.get(folder / 'unheard_of.mp4') is None


def test_unchanged_videos_are_not_examined_again(folder, monkeypatch):
  make(folder)
  examined, original = [], index_builder.examine

  def examine(path, *rest):
    examined.append(os.path.basename(path))
    return original(path, *rest)

  monkeypatch.setattr(index_builder, 'examine', examine)
  make(folder)
  unreadable = ['absent.mp4', 'empty.mp4', 'no.mp4']
  assert sorted(examined) == unreadable  # They may have been so temporarily.
  examined.clear()
  os.utime(folder / 'a.mp4', ns=(1, 1))
  write_video(folder / 'absent.mp4', moving_square(5))
  index = make(folder)
  assert sorted(examined) == ['a.mp4', *unreadable]
  assert index.get(folder / 'absent.mp4').num_frames == 5


def test_the_entry_of_a_changed_file_is_ignored(folder):
  index = make(folder)
  write_video(folder / 'a.mp4', moving_square(31))
  assert index.get(folder / 'a.mp4') is None
  with Reader({}, index=index).open(folder / 'a.mp4') as video:
    assert video.num_frames == 31


def test_an_index_cut_off_by_a_kill_is_completed(folder, monkeypatch):
  file = folder / 'index' / 'videos.jsonl'
  whole = make(folder)
  entries = {p: whole.get(folder / p) for p in ('a.mp4', 'b.mkv', 'c.ts')}
  data = file.read_bytes()
  file.write_bytes(data[: 2 * len(data) // 3])
  assert len(video_index.VideoIndex(file)) < len(whole)
  again = make(folder)
  assert len(again) == len(whole)
  assert {p: again.get(folder / p) for p in entries} == entries


def test_another_file_is_refused(tmp_path):
  for text in ('', '{}\n', 'path,label\n'):
    (tmp_path / 'x.jsonl').write_text(text)
    with pytest.raises(ValueError, match=r'x\.jsonl is not an index'):
      video_index.VideoIndex(tmp_path / 'x.jsonl')


def test_an_index_saves_the_pass_over_the_packets(folder, monkeypatch):
  index = make(folder)
  without = Reader({})
  asked = []
  original = video_reading.frame_table
  monkeypatch.setattr(
    video_reading,
    'frame_table',
    lambda video: asked.append(1) or original(video),
  )
  ours = pickle.loads(pickle.dumps(Reader({}, index=index)))
  for name in ('a.mp4', 'b.mkv', 'c.ts', 'd.mp4'):
    for short_side in (None, 24):
      clip = read(ours, folder / name, short_side=short_side)
      assert not asked
      same = read(without, folder / name, short_side=short_side)
      np.testing.assert_array_equal(clip, same)
      asked.clear()


def test_videos_known_to_be_unreadable_are_not_opened(folder, monkeypatch):
  index = make(folder)
  monkeypatch.setattr(reader, 'Video', None)
  with pytest.raises(VideoError, match='no video'):
    read(Reader({}, index=index), folder / 'no.mp4')


def test_damage_is_found_by_decoding_all_and_changes_no_clip(tmp_path):
  path = tmp_path / 'damaged.mp4'
  write_video(path, moving_square(50), options={'bf': '2', 'g': '250'})
  damage_frame(path, 30)
  assert make(tmp_path).get(path).num_frames == 50
  os.utime(path, ns=(1, 1))
  index = make(tmp_path, full=True)
  entry = index.get(path)
  assert 20 < entry.num_frames <= 30 and 'Invalid data' in entry.damage
  for frames in ([0, 10], [0, 49]):
    lengths = {}
    clips = []
    for name, opener in (('with', Reader({}, index=index)), ('', Reader({}))):
      asked = lengths.setdefault(name, [])

      def sample(part, asked=asked, frames=frames):
        asked.append(part.length)
        return np.minimum(frames, part.length - 1)

      record = Record('damaged', path, 0)
      clips.append(parts.read_clip(opener, record, None, sample)[0])
    assert lengths['with'] == lengths['']
    np.testing.assert_array_equal(*clips)


def test_batches_are_the_same_with_and_without_an_index(
  class_folder, settings, tmp_path
):
  settings |= {'root': str(class_folder), 'index': str(tmp_path / 'i.jsonl')}
  videos = dataset.open_splits(settings)['train']
  bad = tmp_path / 'bad.mp4'
  bad.write_text('<html>')
  records = (*videos.records, Record('bad', str(bad), 0))
  videos = Videos(records, videos.class_names)

  def both():
    with train_batches(videos, settings, seed=0, batch_size=8) as batches:
      train = [next(batches) for _ in range(3)]
    with eval_batches(videos, settings, batch_size=8) as batches:
      return train + list(batches)

  without = both()
  assert video_index.find(videos, settings) is None
  build([r.path for r in records], settings['index'], progress=False)
  assert len(video_index.find(videos, settings)) == len(records)
  for ours, theirs in zip(both(), without, strict=True):
    for key in ours:
      np.testing.assert_array_equal(ours[key], theirs[key], key)


def test_videos_that_take_too_long_are_left_out(folder, monkeypatch, caplog):
  """A higher data.time_limit may read them, with or without an index."""
  path = str(folder / 'a.mp4')
  assert index_builder.examine(path, False, 1e-9) is None
  assert 'takes too long' in caplog.text
  assert make(folder, limit=1e-9).get(path) is None
  assert make(folder).get(path).num_frames == 20
  monkeypatch.setattr(index_builder, 'decode_entry', lambda *_: time.sleep(1))
  monkeypatch.setattr(time_limit, 'patience', lambda seconds: 0.1)
  assert index_builder.examine(path, False, 0.05) is None
  assert 'did not come back' in caplog.text


def test_videos_that_the_disk_refuses_are_left_out(folder, monkeypatch):
  def refuse(video):
    raise OSError(5, 'Input/output error')

  with monkeypatch.context() as at_fault:
    at_fault.setattr(index_builder, 'frame_table', refuse)
    assert make(folder).get(folder / 'a.mp4') is None
  assert make(folder).get(folder / 'a.mp4').num_frames == 20


def test_the_default_file_depends_on_the_paths_of_the_data(settings):
  one = video_index.index_file(settings | {'root': '/videos/mine'})
  two = video_index.index_file(settings | {'root': '/other/mine'})
  assert one != two and one.name.startswith('mine-')
  assert one == video_index.index_file(settings | {'root': '/videos/mine/'})
  odd = os.fsdecode(b'/videos/caf\xe9')
  assert video_index.index_file(settings | {'root': odd}) not in (one, two)
  given = video_index.index_file(settings | {'index': '~/here.jsonl'})
  assert str(given) == os.path.expanduser('~/here.jsonl')


def test_an_index_is_lines_of_json(folder):
  index = make(folder)
  with open(index.file) as file:
    lines = [json.loads(line) for line in file]
  assert lines[0] == video_index.FORMAT
  assert {'path', 'num_frames', 'fps', 'rotation', 'cause'} <= set(lines[1])


def test_an_index_of_another_version_is_ignored_in_the_cache(
  tmp_path, monkeypatch, settings
):
  monkeypatch.setenv('HOME', str(tmp_path))
  videos = Videos((Record('a', str(tmp_path / 'a.mp4'), 0),), ('x',))
  data = settings | {'root': str(tmp_path), 'index': ''}
  file = video_index.index_file(data)
  file.parent.mkdir(parents=True)
  file.write_text('{"format": "flatten_jax video index", "version": 1}\n')
  assert video_index.find(videos, data) is None
  with pytest.raises(ValueError, match='build it again'):
    video_index.find(videos, data | {'index': str(file)})


@pytest.mark.parametrize('full', [False, True])
def test_folders_of_frames_are_described_too(tmp_path, full):
  good = write_frames(tmp_path / 'good', moving_square(12))
  bad = write_frames(tmp_path / 'bad', moving_square(12))
  (bad / 'img_00006.jpg').write_bytes(b'')
  (tmp_path / 'none').mkdir()
  paths = [FramesPath(str(path), 12.5) for path in (good, bad)]
  paths.append(FramesPath(str(tmp_path / 'none')))
  for _ in range(2):
    index = build(
      paths, tmp_path / 'index.jsonl', full=full, progress=False, threads=1
    )
  entry = index.get(paths[0])
  assert (entry.num_frames, entry.fps, entry.duration) == (12, 12.5, 0.96)
  assert (entry.width, entry.height, entry.damage) == (64, 48, '')
  assert index.get(bad).damage == ('img_00006.jpg is empty' if full else '')
  assert 'no frames' in index.get(paths[2]).cause
  data = {'time_limit': 10.0}
  clip = read(Reader(data), paths[0])
  np.testing.assert_array_equal(read(Reader(data, index=index), paths[0]), clip)
  # A frame that is repaired does not change the folder's time.
  write_frames(bad, moving_square(12))
  assert read(Reader(data, index=index), paths[1], [5]).any()
