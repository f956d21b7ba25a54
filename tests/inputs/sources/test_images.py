# SPDX-License-Identifier: Apache-2.0
"""Images are clips of one frame; training alternates them with videos."""

import dataclasses
import fractions

import cv2
import numpy as np
import pytest

from flatten_jax.inputs import image_video_mix
from flatten_jax.inputs.sources import dataset, images
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.frame_files import still_images
from flatten_jax.inputs.video.reader import Reader


@pytest.fixture
def videos(class_folder, image_folder, settings):
  splits = dataset.open_splits(settings | {'root': str(class_folder)})
  return images.add_images(splits, str(image_folder))['train']


def take(count, *args, **kwargs):
  with image_video_mix.train_batches(*args, **kwargs) as batches:
    return [next(batches) for _ in range(count)]


def test_classes_of_the_same_name_are_one_class(
  class_folder, image_folder, settings
):
  splits = dataset.open_splits(settings | {'root': str(class_folder)})
  joined = images.add_images(splits, str(image_folder))
  assert splits['train'].class_names == ('clap', 'jump', 'wave')
  for videos in joined.values():
    assert videos.class_names == ('clap', 'jump', 'wave', 'a_chair')
  stills = joined['train'].images
  assert [record.label for record in stills.records] == [3, 3, 3, 1, 1, 1]
  assert joined['test'].images is None
  first = len(joined['train'])
  assert joined['train'][first + 3].id.endswith('jump 0.jpg')


def test_the_weights_of_videos_stay(class_folder, image_folder, settings):
  splits = dataset.open_splits(settings | {'root': str(class_folder)})
  weights = tuple(map(float, range(len(splits['train']))))
  splits['train'] = dataclasses.replace(splits['train'], weights=weights)
  joined = images.add_images(splits, str(image_folder))['train']
  assert joined.weights == weights and joined.images


@pytest.mark.parametrize('train, val', [('train', 'val'), ('Train', 'Test')])
def test_images_may_be_in_folders_of_splits(tmp_path, train, val):
  for name in (f'{train}/cat', f'{train}/dog', f'{val}/cat', '@eaDir/cat'):
    (tmp_path / name).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / name / '1.png'), np.zeros((4, 4, 3), np.uint8))
  found = images.find(str(tmp_path))
  assert [name for name, _ in found] == ['cat', 'dog']
  assert all(f'/{train}/' in path for _, path in found)


def test_an_image_is_read_as_a_video_of_one_frame(tmp_path):
  image = np.zeros((20, 32, 3), np.uint8)
  image[:, :16] = (255, 0, 0)  # The left half is red.
  path = tmp_path / 'red.png'
  cv2.imwrite(str(path), image[..., ::-1])
  with Reader({}).open(path) as video:
    assert (video.num_frames, video.fps) == (1, 0.0)
    np.testing.assert_array_equal(video.read([0, 0]), [image, image])
  clip = still_images.read(path, 10)
  assert clip.shape == (1, 10, 16, 3)
  assert tuple(clip[0, 5, 2]) == (255, 0, 0)


@pytest.mark.parametrize('content', [b'', b'<html>', None])
def test_a_file_that_is_not_an_image_is_named(tmp_path, content):
  path = tmp_path / 'broken.jpg'
  if content is not None:
    path.write_bytes(content)
  with (
    pytest.raises(VideoError, match=r'broken\.jpg'),
    Reader({}).open(path),
  ):
    pass


@pytest.mark.parametrize('share', [0.5, 0.25, 0.1])
def test_steps_are_distributed_evenly(share):
  exact = image_video_mix.image_share({'image_share': share})
  assert exact == fractions.Fraction(str(share))
  counts = [image_video_mix.images_before(step, exact) for step in range(1001)]
  assert counts[0] == 0 and counts[1000] == 1000 * share
  assert set(np.diff(counts)) == {0, 1}
  gaps = np.diff(np.flatnonzero(np.diff(counts)))
  assert np.ptp(gaps) == 0


def test_batches_of_videos_and_images_alternate(videos, settings):
  settings |= {'image_share': 0.25, 'repeated_aug': 2}
  batches = take(8, videos, settings, seed=0, batch_size=2)
  shapes = [batch['clip'].shape for batch in batches]
  clip, image = (4, 4, 16, 16, 3), (4, 1, 24, 24, 3)
  assert shapes == [clip, clip, clip, image] * 2
  for batch in batches:
    still = batch['clip'].shape[1] == 1
    assert ((batch['index'] >= len(videos)) == still).all()
    labels = [videos[i].label for i in batch['index']]
    np.testing.assert_array_equal(batch['label'], labels)


@pytest.mark.parametrize('start', [1, 2, 3, 5])
def test_training_can_resume_at_any_batch_of_either_kind(
  videos, settings, start
):
  whole = take(7, videos, settings, seed=0, batch_size=2)
  rest = take(7 - start, videos, settings, seed=0, batch_size=2, start=start)
  for ours, theirs in zip(whole[start:], rest, strict=True):
    for key in ours:
      np.testing.assert_array_equal(ours[key], theirs[key], key)


@pytest.mark.parametrize('share', [0.0, 1.0, -1.0])
def test_invalid_shares_of_images_are_refused(videos, settings, share):
  with pytest.raises(ValueError, match='image_share'):
    take(1, videos, settings | {'image_share': share}, seed=0, batch_size=2)


def test_the_error_of_a_folder_without_images_shows_the_expected_layout(
  tmp_path,
):
  (tmp_path / 'cat').mkdir()
  with pytest.raises(FileNotFoundError, match=r'<class>/\*\.jpg'):
    images.find(str(tmp_path))
  with pytest.raises(FileNotFoundError, match=r'data\.images'):
    images.find(str(tmp_path / 'nowhere'))
