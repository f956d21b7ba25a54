# SPDX-License-Identifier: Apache-2.0
"""`fj.VideoDataset` as a data source of Grain, and by itself."""

import logging
import pathlib
import pickle
import subprocess
import sys

from absl import flags
import grain
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.inputs.video.container import VideoError
from tests.support.batches import assert_same
from tests.support.video_maker import (
  decode_all,
  moving_square,
  write_frames,
  write_video,
)

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLIPS = {'num_frames': 4, 'sampling': 'even', 'size': 16, 'short_side': 20}
VARIABLE = [0, 40, 120, 130, 400, 440, 1000, 1040]  # milliseconds


@pytest.fixture(scope='module')
def root(tmp_path_factory):
  """Three classes with four videos each, of 10 to 13 frames at 25 a second."""
  folder = tmp_path_factory.mktemp('videos')
  for label, name in enumerate(('clap', 'jump', 'wave')):
    for i in range(4):
      frames = moving_square(10 + i, 24, 32, seed=10 * label + i)
      write_video(folder / name / f'{i}.mp4', frames)
  return folder


@pytest.fixture
def videos(root):
  return fj.VideoDataset(root, 'all', **CLIPS)


def random_clips(videos, workers=0, seed=0):
  """Batches of random clips without end, as the documentation makes them."""
  order = grain.MapDataset.range(len(videos)).seed(seed).shuffle().repeat()
  clips = order.random_map(videos.random_clip).to_iter_dataset(
    grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
  )
  if workers:
    clips = clips.mp_prefetch(grain.MultiprocessingOptions(workers))
  return iter(clips.batch(5))


def take(batches, count):
  """Returns the next batches, and ends what makes them."""
  found = [next(batches) for _ in range(count)]
  batches.close()
  return found


def test_a_clip_has_the_promised_shapes_and_types(videos):
  assert isinstance(videos, grain.sources.RandomAccessDataSource)
  for clip in (videos[5], videos.random_clip(5, np.random.default_rng(0))):
    assert list(clip) == ['clip', 'label', 'id', 'times']
    assert clip['clip'].shape == (4, 16, 16, 3)
    assert clip['clip'].dtype == np.uint8
    assert clip['label'] == 1 and clip['label'].dtype == np.int32
    assert clip['id'] == videos.records[5].id
    assert clip['times'].shape == (4,) and clip['times'].dtype == np.float64
  assert videos.class_names == ('clap', 'jump', 'wave')
  assert videos.num_classes == 3
  with pytest.raises(IndexError):
    videos[12]
  with pytest.raises(IndexError):
    videos.random_clip(12, np.random.default_rng(0))


def test_an_indexed_clip_is_the_centre_of_the_middle(root):
  """Frames of 24 x 32 px become 20 x 26: the crop is rows 2 to 17."""
  videos = fj.VideoDataset(root, 'all', test_short_side=20, **CLIPS)
  index = [record.id for record in videos.records].index('clap/2.mp4')
  # The middle frames of quarters of 12 frames.
  np.testing.assert_array_equal(videos[index]['times'], [0.04, 0.16, 0.28, 0.4])
  frames = videos.frames(index)['frames']
  assert frames.shape == (12, 20, 26, 3)
  expected = frames[[1, 4, 7, 10], 2:18, 5:21]
  np.testing.assert_array_equal(videos[index]['clip'], expected)


def test_random_clips_differ_by_their_generator_alone(videos):
  one, same, other = (
    videos.random_clip(3, np.random.default_rng(seed)) for seed in (1, 1, 2)
  )
  assert_same([one], [same])
  assert (one['clip'] != other['clip']).any()


def test_an_iterator_repeats_and_each_epoch_has_other_clips(videos):
  batches = take(random_clips(videos), 5)
  assert_same(batches, take(random_clips(videos), 5))
  clips = np.concatenate([batch['clip'] for batch in batches])[:24]
  ids = np.concatenate([batch['id'] for batch in batches])[:24]
  assert len({*ids[:12]}) == len({*ids[12:]}) == 12
  assert list(ids[:12]) != list(ids[12:])
  by_id = dict(zip(ids[:12], clips[:12], strict=True))
  pairs = zip(ids[12:], clips[12:], strict=True)
  assert all((by_id[name] != clip).any() for name, clip in pairs)


def test_an_iterator_resumes_in_the_middle(videos):
  batches = random_clips(videos)
  for _ in range(3):
    next(batches)
  state = batches.get_state()
  expected = take(batches, 4)
  resumed = random_clips(videos)
  resumed.set_state(state)
  assert_same(take(resumed, 4), expected)


@pytest.mark.slow
@pytest.mark.parametrize('workers', [1, 2])
def test_worker_processes_change_nothing_and_resume(videos, workers):
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()
  expected = take(random_clips(videos), 4)
  batches = random_clips(videos, workers)
  first = next(batches)
  state = batches.get_state()
  assert_same([first, *take(batches, 3)], expected)
  resumed = random_clips(videos, workers)
  resumed.set_state(state)
  assert_same(take(resumed, 3), expected[1:])


def test_the_data_loader_of_grain_takes_it(videos):
  def loader(source):
    return grain.DataLoader(
      data_source=source,
      sampler=grain.samplers.IndexSampler(
        len(source), shuffle=True, seed=0, num_epochs=1
      ),
      operations=[grain.transforms.Batch(4)],
    )

  batches = iter(loader(videos))
  next(batches)
  state = batches.get_state()
  expected = list(batches)
  assert len(expected) == 2
  # A loader resumes if its source has the same `repr`.
  resumed = iter(loader(pickle.loads(pickle.dumps(videos))))
  resumed.set_state(state)
  assert_same(list(resumed), expected)


def test_the_data_loader_of_grain_makes_random_clips(videos):
  class RandomClip(grain.transforms.RandomMap):
    def random_map(self, index, rng):
      return videos.random_clip(index, rng)

  def batches():
    loader = grain.DataLoader(
      data_source=range(len(videos)),
      sampler=grain.samplers.IndexSampler(
        len(videos), shuffle=True, seed=0, num_epochs=2
      ),
      operations=[RandomClip(), grain.transforms.Batch(12)],
    )
    return list(loader)

  first, second = found = batches()
  assert_same(batches(), found)
  assert {*first['id']} == {*second['id']}
  order = [list(first['id']).index(name) for name in second['id']]
  assert (first['clip'][order] != second['clip']).any((1, 2, 3, 4)).all()


def test_repr_tells_videos_and_clips(root):
  videos = fj.VideoDataset(root, flip=False, **CLIPS)
  assert repr(videos) == (
    f"VideoDataset({str(root)!r}, split='train', num_frames=4, "
    "sampling='even', stride=4, size=16, flip=False, short_side=20)"
  )
  files = fj.VideoDataset([root / 'clap' / '0.mp4'], size=16)
  assert repr(files).startswith('VideoDataset(1 files, num_frames=')


def test_a_process_that_unpickles_it_loads_no_jax(videos, tmp_path):
  file = tmp_path / 'videos.pickle'
  file.write_bytes(pickle.dumps(videos))
  np.save(tmp_path / 'clip.npy', videos[2]['clip'])
  code = (
    'import pathlib, pickle, sys\n'
    'import numpy as np\n'
    f'folder = pathlib.Path({str(tmp_path)!r})\n'
    "videos = pickle.loads((folder / 'videos.pickle').read_bytes())\n"
    "assert (videos[2]['clip'] == np.load(folder / 'clip.npy')).all()\n"
    "found = {'jax', 'flax', 'grain'} & {*sys.modules}\n"
    'assert not found, found'
  )
  subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=True)


@pytest.mark.parametrize('name', ['clip.mp4', 'clip.mkv'])
def test_times_are_those_of_a_variable_frame_rate(tmp_path, name):
  path = write_video(
    tmp_path / name, moving_square(len(VARIABLE), 24, 32), pts=VARIABLE
  )
  videos = fj.VideoDataset([path], **CLIPS)
  seconds = np.array(VARIABLE) / 1000
  np.testing.assert_allclose(videos.times(0), seconds, atol=1e-6)
  # The middle frames of quarters of 8 frames.
  np.testing.assert_allclose(
    videos[0]['times'], seconds[[1, 3, 5, 7]], atol=1e-6
  )
  for seed in range(5):
    clip = videos.random_clip(0, np.random.default_rng(seed))
    assert {*clip['times'].round(6)} <= {*seconds}


def test_frames_are_those_of_a_full_decode(tmp_path):
  path = write_video(tmp_path / 'clip.mp4', moving_square(11, 24, 32), rate=30)
  reference = np.stack(decode_all(path))
  videos = fj.VideoDataset([path], size=16)
  np.testing.assert_allclose(videos.times(0), np.arange(11) / 30, atol=1e-6)
  for part in ((), (2, 7), (-3,), (None, None, 4), (1, 99, 3)):
    found = videos.frames(0, *part)
    wanted = slice(*part) if len(part) > 1 else slice(*part, None)
    np.testing.assert_array_equal(found['frames'], reference[wanted])
    np.testing.assert_allclose(
      found['times'], (np.arange(11) / 30)[wanted], atol=1e-6
    )
    assert found['label'] == -1 and found['id'] == str(path)


def test_frames_of_a_part_count_from_its_first(tmp_path):
  path = write_video(tmp_path / 'a.mp4', moving_square(20, 24, 32), rate=10)
  list_file = tmp_path / 'parts.csv'
  list_file.write_text(
    f'path,label,split,start,end\n{path},x,train,0.5,1.5\n'
    f'{path},y,train,0,0.4\n'
  )
  videos = fj.VideoDataset(list_file, size=16)
  np.testing.assert_allclose(videos.times(0), 0.5 + np.arange(10) / 10)
  found = videos.frames(0, 1, 3)
  np.testing.assert_allclose(found['times'], [0.6, 0.7])
  np.testing.assert_array_equal(
    found['frames'], np.stack(decode_all(path))[6:8]
  )


def test_frames_that_are_not_there(videos):
  message = '10 frames, none of them in start=99, stop=None, step=None'
  with pytest.raises(ValueError, match=message):
    videos.frames(0, 99)


def test_a_list_and_folders_of_splits_are_roots_too(root, tmp_path):
  rows = [
    f'{path},{path.parent.name},{"train" if int(path.stem) < 3 else "val"}'
    for path in sorted(root.rglob('*.mp4'))
  ]
  list_file = tmp_path / 'list.csv'
  list_file.write_text('\n'.join(['path,label,split', *rows]))
  assert len(fj.VideoDataset(list_file, 'train', **CLIPS)) == 9
  assert len(fj.VideoDataset(str(list_file), 'val', **CLIPS)) == 3
  for split, number in (('train', 0), ('test', 3)):
    for name in ('clap', 'jump'):
      target = tmp_path / 'set' / split / name / f'{number}.mp4'
      target.parent.mkdir(parents=True)
      target.symlink_to(root / name / f'{number}.mp4')
  test = fj.VideoDataset(tmp_path / 'set', 'test', **CLIPS)
  assert [record.label for record in test.records] == [0, 1]
  assert len(fj.VideoDataset(root, 'test', holdout=0.5, **CLIPS)) == 6
  lists = {'train': str(list_file), 'prefix': '/'}
  with pytest.raises(ValueError, match='several splits of its own'):
    fj.VideoDataset(**lists)


def test_the_embedded_set_is_a_root_too(clips_root):
  videos = fj.VideoDataset(clips_root, 'val', **CLIPS)
  assert len(videos) == videos.num_classes == 12
  assert videos[11]['clip'].shape == (4, 16, 16, 3)


def test_files_have_no_labels_and_may_be_folders_of_frames(tmp_path, caplog):
  frames = moving_square(6, 24, 32)
  write_frames(tmp_path / 'frames', frames, name='img_{:05d}.png')
  film = write_video(tmp_path / 'film.mp4', frames)
  videos = fj.VideoDataset([str(film), tmp_path / 'frames'], size=24)
  assert videos.class_names == () and videos.num_classes == 0
  assert [record.label for record in videos.records] == [-1, -1]
  np.testing.assert_array_equal(videos.frames(1)['frames'], frames)
  np.testing.assert_allclose(videos.times(1), np.arange(6) / 25)
  assert '25 frames per second are assumed' in caplog.text


def test_a_broken_video_is_named_and_replaced_in_training(
  root, tmp_path, caplog
):
  broken = tmp_path / 'broken.mp4'
  broken.write_text('<html>')
  videos = fj.VideoDataset([broken, root / 'clap' / '0.mp4'], **CLIPS)
  for read in (videos.__getitem__, videos.frames, videos.times):
    with pytest.raises(VideoError, match=r'broken\.mp4'):
      read(0)
  with caplog.at_level(logging.WARNING):
    clips = [
      videos.random_clip(0, np.random.default_rng(seed)) for seed in (0, 1)
    ]
  assert {clip['id'] for clip in clips} == {videos.records[1].id}
  (warning,) = (r for r in caplog.messages if 'broken.mp4' in r)
  assert 'other videos in its place' in warning
  alone = fj.VideoDataset([broken], **CLIPS)
  with pytest.raises(RuntimeError, match='None of 1 videos can be read'):
    alone.random_clip(0, np.random.default_rng(0))


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'split': 'val'}, r"train, test or all, .*; got 'val'. val_holdout=0.1"),
    ({'size': 0}, 'size must be a whole number, 1 or more; got 0'),
    ({'num_frames': 2.5}, 'num_frames must be a whole number'),
    ({'stride': -1}, 'stride must be'),
    ({'sampling': 'dens'}, "Did you mean 'dense'"),
    ({'sampling': 'tdn', 'num_frames': 4}, 'set data.num_frames to a multiple'),
    ({'test_short_side': 200}, 'or at least size=224; got 200'),
    ({'flip': 'no'}, 'data.flip must be True or False'),
    ({'flipp': False}, r'no config.data.flipp. Did you mean config.data.flip'),
    ({'randaugment': 'x'}, 'randaugment'),
    ({'crop': 112}, "it is called 'size' here"),
    ({'workers': 4}, 'are those of Grain'),
    ({'num_clips': 4}, 'one random or middle clip'),
  ],
)
def test_wrong_arguments_are_refused(root, arguments, message):
  with pytest.raises(ValueError, match=message):
    fj.VideoDataset(root, **arguments)


def test_wrong_roots_are_refused(tmp_path):
  with pytest.raises(FileNotFoundError, match='there is no'):
    fj.VideoDataset(tmp_path / 'absent')
  with pytest.raises(FileNotFoundError, match=r'no video .*absent.mp4'):
    fj.VideoDataset([tmp_path / 'absent.mp4'])
  with pytest.raises(ValueError, match='There is no data'):
    fj.VideoDataset()
  with pytest.raises(ValueError, match='an empty sequence'):
    fj.VideoDataset([])
  with pytest.raises(ValueError, match='no videos in class folders'):
    fj.VideoDataset(tmp_path)
