# SPDX-License-Identifier: Apache-2.0
"""Preparing miniatures of each data set: counts, bytes, interruption."""

import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data.annotations import Sources
from data.media import Treatment
from data.plan import WORK
from data.prepare import main, prepare
from flatten_jax.inputs.video.read import Video, probe
from tests.support.dataset_maker import (
  DATA_SETS,
  counts,
  hmdb,
  kinetics,
  make,
  something,
  write,
)
from tests.support.video_maker import (
  moving_square,
  write_frames,
  write_video,
  zip_frames,
)

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def records(out, split):
  """{id: record} of a split, as TFDS reads it."""
  source = tfds.builder_from_directory(out).as_data_source(split)
  return {source[i]['id'].decode(): source[i] for i in range(len(source))}


def contents(out):
  return {
    file.name: file.read_bytes() for file in out.iterdir() if file.is_file()
  }


# --- Content ------------------------------------------------------------------


def test_kinetics_is_prepared_from_the_files_that_exist(tmp_path, place):
  kinetics(tmp_path, place)
  report = make('kinetics400', tmp_path, tmp_path / 'out')
  assert counts(report, 'train') == [6, 5, 1, 0]
  assert counts(report, 'val') == [3, 1, 0, 2]
  assert report['splits']['train']['official'] == 246_534
  yoga = report['splits']['train']['classes']['yoga']
  assert (yoga['found'], yoga['missing']) == (2, 1)
  train = records(tmp_path / 'out', 'train')
  files = {file.stem: file for file in (tmp_path / 'videos').rglob('*.mp4')}
  replaced = '04-abcdefgh_000010_000020'
  files[replaced] = files.pop('04-abcdefgh_000009_000019')
  for key, record in train.items():
    assert record['video'] == files[key].read_bytes()
    assert record['file'].decode() == files[key].name
  info = tfds.builder_from_directory(tmp_path / 'out').info
  assert info.features['label'].names == ['air drumming', 'yoga']
  assert [record['label'] for record in train.values()] == [0, 1, 0, 1, 0]
  assert info.splits['train'].num_examples == 5
  text = (tmp_path / 'out' / 'report.txt').read_text()
  assert '246534' in text and '(officially 400)' in text


def test_the_index_contains_the_cause_of_every_missing_video(tmp_path, place):
  kinetics(tmp_path, place)
  make('kinetics400', tmp_path, tmp_path / 'out')
  with (tmp_path / 'out' / 'index-val.csv').open() as file:
    rows = list(csv.DictReader(file))
  assert [row['record'] for row in rows] == ['', '', '0']
  assert rows[0]['cause'].startswith('unreadable: no video, or damaged')
  assert rows[1]['cause'] == 'unreadable: the file is empty'


@pytest.mark.parametrize('prefix', ['something-something-v2-', 'labels/'])
def test_something_something_is_numbered_as_published(tmp_path, place, prefix):
  something(tmp_path, place, prefix)
  report = make('something_something_v2', tmp_path, tmp_path / 'out')
  assert counts(report, 'train') == [6, 6, 0, 0]
  assert counts(report, 'test') == [2, 1, 1, 0]
  train = records(tmp_path / 'out', 'train')
  assert [record['label'] for record in train.values()] == [2, 1, 0, 2, 1, 0]
  assert records(tmp_path / 'out', 'test')['90']['label'] == -1
  names = tfds.builder_from_directory(tmp_path / 'out').info.features['label']
  assert names.names[2] == 'Holding a thing'
  folder = tmp_path / 'videos' / '20bn-something-something-v2'
  for key, record in train.items():
    assert record['video'] == (folder / f'{key}.webm').read_bytes()


def test_one_copy_of_hmdb51_serves_its_three_splits(tmp_path, place):
  hmdb(tmp_path, place)
  report = make('hmdb51', tmp_path, tmp_path / 'out')
  assert counts(report, 'videos') == [8, 7, 0, 1]
  found = records(tmp_path / 'out', 'videos')
  roles = found['shake_hands/#3_shake_hands_(x)_[y]&;!.avi']['roles']
  assert roles.tolist() == [0, 0, 2]
  for key, record in found.items():
    assert record['video'] == (tmp_path / 'videos' / key).read_bytes()


def test_your_own_class_folders_become_splits(tmp_path, place):
  place(
    tmp_path / 'videos', *(f'train/{c}/{i}.mp4' for c in 'ab' for i in '12')
  )
  place(tmp_path / 'videos', 'validation/a/1.avi')
  report = make('folder', tmp_path, tmp_path / 'out', annotations=None)
  assert counts(report, 'train') == [4, 4, 0, 0]
  assert counts(report, 'val') == [1, 1, 0, 0]


def test_each_file_is_stored_under_its_own_name(tmp_path, place):
  videos = tmp_path / 'training' / 'videos'
  names = ['a/1.avi', 'a/1.mp4', 'b/1.mp4']
  for split in ('train', 'test'):
    place(videos / split, *names)
  make('folder', tmp_path / 'training', tmp_path / 'out', annotations=None)
  for split in ('train', 'test'):
    found = records(tmp_path / 'out', split)
    assert list(found) == names
    for name, record in found.items():
      assert record['video'] == (videos / split / name).read_bytes()


def test_a_broken_link_is_an_unreadable_video(tmp_path, place):
  place(tmp_path / 'videos', 'a/1.mp4', 'b/1.mp4')
  (tmp_path / 'videos' / 'b' / '2.mp4').symlink_to(tmp_path / 'gone.mp4')
  report = make('folder', tmp_path, tmp_path / 'out', annotations=None)
  assert counts(report, 'videos') == [3, 2, 0, 1]
  index = (tmp_path / 'out' / 'index-videos.csv').read_text()
  assert 'b/2.mp4' in index and 'unreadable: No such file' in index


def test_a_pipe_is_an_unreadable_video(tmp_path, place):
  place(tmp_path / 'videos', 'a/1.mp4', 'b/1.mp4')
  os.mkfifo(tmp_path / 'videos' / 'b' / '2.mp4')
  report = make('folder', tmp_path, tmp_path / 'out', annotations=None)
  assert counts(report, 'videos') == [3, 2, 0, 1]
  index = (tmp_path / 'out' / 'index-videos.csv').read_text()
  assert 'unreadable: not a file' in index


def test_real_videos_are_stored_unchanged(tmp_path, real_clips):
  sources = Sources([], [real_clips / 'folders'])
  prepare(
    DATA_SETS['folder'], sources, tmp_path / 'out', shard_mib=1, progress=False
  )
  found = records(tmp_path / 'out', 'videos')
  assert len(found) == 15
  for key, record in found.items():
    assert record['video'] == (real_clips / 'folders' / key).read_bytes()


def test_every_broken_file_is_named_with_its_cause(tmp_path, real_clips):
  files = sorted(f for f in (real_clips / 'broken').iterdir() if f.is_file())
  text = ''.join(f'{file.name},{i % 2}\n' for i, file in enumerate(files))
  sources = Sources(
    [write(tmp_path / 'list.csv', text)], [real_clips / 'broken']
  )
  prepare(DATA_SETS['folder'], sources, tmp_path / 'out', progress=False)
  with (tmp_path / 'out' / 'index-videos.csv').open() as file:
    causes = {row['id']: row['cause'] for row in csv.DictReader(file)}
  refused = {name for name, cause in causes.items() if cause}
  assert refused == {
    'empty.mp4',
    'random_bytes.mp4',
    'text_named.mp4',
    'trunc60_mp4.mp4',
  }


def test_the_same_video_with_two_labels_is_refused(tmp_path, place, caplog):
  place(tmp_path / 'videos', 'a/1.mp4', 'b/1.mp4')
  os.link(tmp_path / 'videos' / 'a' / '1.mp4', tmp_path / 'videos/a/2.mp4')
  make('folder', tmp_path, tmp_path / 'out', annotations=None)
  assert 'are there twice, like a/1.mp4 and a/2.mp4' in caplog.text
  os.link(tmp_path / 'videos' / 'a' / '1.mp4', tmp_path / 'videos/b/2.mp4')
  with pytest.raises(ValueError, match="the labels 'a' and 'b'"):
    make('folder', tmp_path, tmp_path / 'new', annotations=None)


# --- Preparation --------------------------------------------------------------


def test_the_number_of_processes_does_not_change_the_set(tmp_path, place):
  kinetics(tmp_path, place)
  make('kinetics400', tmp_path, tmp_path / 'one')
  make('kinetics400', tmp_path, tmp_path / 'two', processes=2)
  assert contents(tmp_path / 'one') == contents(tmp_path / 'two')


def test_another_preparation_in_the_same_folder_is_refused(tmp_path, place):
  kinetics(tmp_path, place)
  make('kinetics400', tmp_path, tmp_path / 'out')
  before = contents(tmp_path / 'out')
  make('kinetics400', tmp_path, tmp_path / 'out')  # The same: nothing to do.
  assert contents(tmp_path / 'out') == before
  with pytest.raises(FileExistsError, match=r'treatment: .*first.*none'):
    treatment = Treatment(check='none')
    make('kinetics400', tmp_path, tmp_path / 'out', treatment=treatment)
  with pytest.raises(FileExistsError, match='annotations, out, videos'):
    make('kinetics400', tmp_path, tmp_path)


def test_annotations_without_any_video_are_refused_with_an_example(
  tmp_path, place
):
  kinetics(tmp_path, place)
  sources = Sources([tmp_path / 'annotations'], [tmp_path / 'annotations'])
  with pytest.raises(FileNotFoundError, match='00-abcdefgh_000010_000020'):
    prepare(DATA_SETS['kinetics400'], sources, tmp_path / 'out')
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
  'flag, complaint',
  [
    ('--videos=/nope', '--videos: there is no folder /nope'),
    ('--class_names=~/nope.txt', '--class_names: there is no file '),
    ('--annotations=/nope', '--annotations: there is no /nope'),
    ('--crf=99', 'crf in 0 to 51'),
  ],
)
def test_a_wrong_command_prints_one_message(tmp_path, capsys, flag, complaint):
  root = tmp_path / 'videos'
  write(root / 'a' / '1.mp4', '')
  given = ['folder', f'--videos={root}', f'--out={tmp_path / "out"}', flag]
  with pytest.raises(SystemExit) as stopped:
    main(given)
  said = capsys.readouterr().err.strip()
  assert stopped.value.code == 1
  assert complaint in said and '~' not in said
  assert len(said.splitlines()) == 1
  with pytest.raises((OSError, ValueError), match=complaint):
    main([*given, '--debug'])


def test_class_names_may_be_in_the_home_folder(
  tmp_path, place, monkeypatch, capsys
):
  monkeypatch.setenv('HOME', str(tmp_path))
  place(tmp_path / 'videos', 'a.mp4', 'b.mp4')
  write(tmp_path / 'names.txt', 'wave\nclap')
  lists = write(tmp_path / 'train.txt', 'a.mp4 0\nb.mp4 1\n')
  out = tmp_path / 'out'
  flags = ['--class_names=~/names.txt', '--videos=~/videos', '--processes=1']
  main(['folder', f'--annotations={lists}', f'--out={out}', *flags])
  assert '2 classes' in capsys.readouterr().out
  info = tfds.builder_from_directory(out).info
  assert info.features['label'].names == ['wave', 'clap']


def command(root, out, *flags):
  return [
    *(sys.executable, '-m', 'data.prepare', 'kinetics400', '--shard_mib=0.001'),
    *(f'--annotations={root / "annotations"}', f'--videos={root / "videos"}'),
    *(f'--out={out}', '--processes=1', *flags),
  ]


def test_a_killed_preparation_resumes_to_the_same_set(tmp_path, place):
  kinetics(tmp_path, place)
  make('kinetics400', tmp_path, tmp_path / 'whole', shard_mib=0.001)
  out = tmp_path / 'out'
  # The process waits at one video until it is killed.
  trap = tmp_path / 'videos' / 'flat' / '03-abcdefgh_000010_000020.mp4'
  code = (
    'import os, sys, time; from data import media, prepare; before = open;'
    f'media.open = lambda path, mode: time.sleep(60) if path == {str(trap)!r} '
    'else before(path, mode); prepare.main(sys.argv[1:])'
  )
  arguments = command(tmp_path, out)[3:]
  process = subprocess.Popen(
    [sys.executable, '-c', code, *arguments],
    cwd=REPOSITORY,
    stderr=subprocess.DEVNULL,
  )
  for _ in range(600):
    if len(list((out / WORK).glob('*.done.json'))) == 3:
      break
    time.sleep(0.05)
  os.kill(process.pid, signal.SIGKILL)
  process.wait()
  done = sorted(out.glob('*array_record-0000[0-2]*'))
  times = [file.stat().st_mtime_ns for file in done]
  assert len(done) == 3
  assert len(list(out.glob('.*.partial'))) == 1
  make('kinetics400', tmp_path, out, shard_mib=0.001)
  assert [file.stat().st_mtime_ns for file in done] == times
  assert contents(out) == contents(tmp_path / 'whole')


def test_the_command_needs_no_tensorflow(tmp_path, place):
  kinetics(tmp_path, place)
  code = (
    'import sys; from data import prepare; prepare.main(sys.argv[1:]);'
    'assert "tensorflow" not in sys.modules and "jax" not in sys.modules'
  )
  done = subprocess.run(
    [sys.executable, '-c', code, *command(tmp_path, tmp_path / 'out')[3:]],
    cwd=REPOSITORY,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  assert f'--config.data.root={tmp_path / "out"}' in done.stdout


def test_a_beam_pipeline_makes_the_same_set(tmp_path, place):
  pytest.importorskip('apache_beam')
  kinetics(tmp_path, place)
  make('kinetics400', tmp_path, tmp_path / 'one')
  make(
    'kinetics400', tmp_path, tmp_path / 'beam', beam=['--runner=DirectRunner']
  )
  assert contents(tmp_path / 'one') == contents(tmp_path / 'beam')


# --- Treatment ----------------------------------------------------------------


def test_reencoded_frames_are_the_same_but_small(tmp_path):
  frames = moving_square(50, 96, 160)
  write_video(tmp_path / 'videos' / 'a' / 'x.avi', frames, 'mpeg4')
  write_video(tmp_path / 'videos' / 'b' / 'y.mp4', frames, rotation=90)
  treatment = Treatment(short_side=48, gop=6)
  for out in ('one', 'two'):
    make(
      'folder', tmp_path, tmp_path / out, annotations=None, treatment=treatment
    )
  assert contents(tmp_path / 'one') == contents(tmp_path / 'two')
  from flatten_jax.inputs.sources.prepared import PreparedVideo

  for record, shape in ((0, (48, 80)), (1, (80, 48))):
    name = ('x.mp4', 'y.mp4')[record]
    stored = PreparedVideo(str(tmp_path / 'one'), 'videos', record, name)
    info = probe(stored)
    assert (info.num_frames, info.fps) == (50, 25)
    assert (info.height, info.width) == shape
    with Video(stored) as video:
      clip = video.read([0, 30])
    want = frames[[0, 30]].reshape(2, 48, 2, 80, 2, 3).mean((2, 4))
    if record:
      want = np.rot90(want, axes=(1, 2))
    assert np.abs(clip - want).mean() < 12


def test_folders_of_frames_become_one_encoded_file_each(tmp_path):
  frames = moving_square(20, 48, 65)
  videos = tmp_path / 'videos'
  write_frames(videos / 'a' / 'x.1', frames[:12])
  write_frames(videos / 'b' / 'y', frames, 'frame{:06d}.png', first=0)
  zip_frames(videos / 'b' / 'y', videos / 'b' / 'z.zip')
  write_frames(videos / 'b' / 'w', frames)
  (videos / 'b' / 'w' / 'img_00007.jpg').write_bytes(b'')
  write(
    tmp_path / 'annotations' / 'list.csv',
    'path,num_frames,label,fps\na/x.1,11,a,12.5\nb/y,21,b,30\nb/z,20,b,30\n'
    'b/w,20,b,30\n',
  )
  report = make(
    'folder', tmp_path, tmp_path / 'out', treatment=Treatment(crf=18)
  )
  assert counts(report, 'videos') == [4, 3, 0, 1]
  from flatten_jax.inputs.sources import prepared
  from flatten_jax.inputs.video.read import Video

  rows = prepared.read_split(str(tmp_path / 'out'), 'videos')
  assert rows[3]['cause'] == 'unreadable: img_00007.jpg is empty'
  assert [row['file'] for row in rows[:3]] == ['x.1.mp4', 'y.mp4', 'z.mp4']
  for row, count, fps in zip(rows, (11, 20, 20), (12.5, 30, 30), strict=False):
    stored = prepared.row_of(str(tmp_path / 'out'), row, {'a': 0, 'b': 1}).path
    with Video(stored) as video:
      assert (video.num_frames, video.fps) == (count, fps)
      assert video.times[-1] == pytest.approx(count / fps, abs=1e-3)
      clip = video.read(range(count))
    assert clip.shape == (count, 48, 64, 3)  # H.264 needs even sizes.
    # Sharp edges between colours; no frame is exchanged for another.
    distance = np.abs(clip[:, None] - frames[:count, :, :64].astype(int))
    distance = distance.mean((2, 3, 4))
    assert (distance.argmin(1) == np.arange(count)).all()
    assert distance.diagonal().max() < 8


@pytest.mark.parametrize(
  ('name', 'options'),
  [
    ('a.h264', {}),  # Without timestamps.
    ('a.ts', {'pts': [*range(0, 4000, 400), *range(4000, 4400, 40)]}),
    ('a.mkv', {'pts': [*range(0, 400, 40), *range(9000, 9400, 40)]}),
    ('a.avi', {'options': {'bf': '0'}}),
    ('joined.ts', {}),
  ],
)
def test_reencoded_frames_have_the_same_times(tmp_path, name, options):
  path = write_video(tmp_path / name, moving_square(20, 96, 160), **options)
  if name == 'joined.ts':
    path.write_bytes(path.read_bytes() * 2)
  data, suffix = Treatment(short_side=48)(str(path))
  (tmp_path / f'small{suffix}').write_bytes(data)
  with Video(path) as before, Video(tmp_path / f'small{suffix}') as after:
    np.testing.assert_allclose(after.times, before.times, atol=2e-3)


def test_parts_of_folders_of_frames_are_prepared(tmp_path):
  frames = moving_square(12)
  write_frames(tmp_path / 'videos' / 'day 1', frames, '{}.png')
  write_frames(tmp_path / 'videos' / 'day 2', frames, '{}.png')
  lines = ['day 1 0 4 up', 'day 1 4 8 down', 'day 2 2 9 up', 'day 2 0 2 down']
  write(tmp_path / 'annotations' / 'list.txt', '\n'.join(lines))
  report = make('folder', tmp_path, tmp_path / 'out')
  assert counts(report, 'videos') == [4, 4, 0, 0]
  from flatten_jax.inputs.sources import prepared
  from flatten_jax.inputs.video.read import probe

  names = {'down': 0, 'up': 1}
  rows = prepared.read_split(str(tmp_path / 'out'), 'videos')
  stored = [prepared.row_of(str(tmp_path / 'out'), row, names) for row in rows]
  assert [row.label for row in stored] == [1, 0, 1, 0]
  assert [probe(row.path).num_frames for row in stored] == [4, 8, 9, 2]


@pytest.mark.parametrize(
  'options', [{'check': 'some'}, {'short_side': -1}, {'gop': 0}, {'crf': 60}]
)
def test_invalid_treatments_are_refused(options):
  with pytest.raises(ValueError):
    Treatment(**options)


def test_a_check_of_all_frames_finds_later_damage(tmp_path):
  from tests.support.video_maker import damage_frame

  for name in ('a/x.mp4', 'b/y.mp4'):
    write_video(tmp_path / 'videos' / name, moving_square(20))
  damage_frame(tmp_path / 'videos' / 'a' / 'x.mp4', 9)
  report = make('folder', tmp_path, tmp_path / 'first', annotations=None)
  assert counts(report, 'videos') == [2, 2, 0, 0]
  treatment = Treatment(check='all')
  report = make(
    'folder', tmp_path, tmp_path / 'all', annotations=None, treatment=treatment
  )
  assert counts(report, 'videos') == [2, 1, 0, 1]
  assert json.loads((tmp_path / 'all' / 'prepared.json').read_text())['digest']


@pytest.mark.parametrize(
  'wrong', ['--shard_mib=0', '--shard_mib=nan', '--processes=0', '--gop=0']
)
def test_options_that_cannot_be_meant_are_refused(wrong, tmp_path, capsys):
  write_video(tmp_path / 'videos/up/a.mp4', moving_square(4))
  with pytest.raises(SystemExit, match='1'):
    main(
      [
        'folder',
        f'--videos={tmp_path}/videos',
        f'--out={tmp_path}/out',
        '--short_side=16',
        wrong,
      ]
    )
  message = capsys.readouterr().err.strip()
  assert wrong[2:5] in message
  assert 'Error' not in message
  assert not (tmp_path / 'out').exists()
