# SPDX-License-Identifier: Apache-2.0
"""`fj.load`: a run, or published weights, as an object that classifies."""

import dataclasses
import functools
import http.server
import pathlib
import re
import shutil
import threading

import jax
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax import models
from flatten_jax.checkpoints import published
from flatten_jax.checkpoints.load import load_model
from flatten_jax.inputs.synthetic import many_motions, motion_clips
from flatten_jax.inputs.video.read import Video
from flatten_jax.prediction import find_videos
from tests.support import small_run


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """run/ and clips/."""
  folder = tmp_path_factory.mktemp('classifier')
  small_run.make(folder)
  return folder


@pytest.fixture(scope='module')
def model(folder):
  return fj.load(folder / 'run')


@pytest.fixture(scope='module')
def clip_file(folder):
  return min((folder / 'clips' / 'test').rglob('*.mp4'))


def frames_of(file) -> np.ndarray:
  """Frames of the size of a test view, which are not resized again."""
  with Video(str(file), size=16) as video:
    return video.read(range(video.num_frames))


def clips(*shape: int) -> np.ndarray:
  return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_it_knows_its_classes_and_its_clips(model, folder):
  assert model.class_names == load_model(folder / 'run').class_names
  assert model.clip_shape == (4, 16, 16, 3)
  assert '12 classes, 4 frames of 16 px' in repr(model)


def test_logits_are_those_of_the_network(model):
  batch = clips(3, 4, 16, 16, 3)
  logits = model(batch)
  mean, std = (np.array(model.config[key]) for key in ('mean', 'std'))
  images = fj.flatten(((batch / 255 - mean) / std).astype(np.float32))
  np.testing.assert_allclose(logits, model.module(images), atol=1e-4)
  np.testing.assert_allclose(model(batch[1]), logits[1], atol=1e-5)
  np.testing.assert_allclose(
    model.probabilities(batch), jax.nn.softmax(logits), atol=1e-6
  )


def test_clips_of_other_sizes_are_resized(model):
  assert model(clips(2, 4, 30, 40, 3)).shape == (2, 12)


@pytest.mark.parametrize(
  ('wrong', 'words'),
  [
    (clips(2, 3, 4, 16, 16), r'Write clips.transpose\(0, 2, 3, 4, 1\)'),
    (clips(2, 4, 3, 16, 16), r'Write clips.transpose\(0, 1, 3, 4, 2\)'),
    (clips(2, 4, 16, 16, 3) / 255, r'\(255 \* clips\).round\(\).astype'),
    (clips(2, 4, 16, 16, 3) * 1.0, r'Write clips.round\(\).astype'),
    (clips(2, 9, 16, 16, 3), r'np.linspace\(0, 8, 4\).round\(\).astype\(int\)'),
    (clips(1, 4, 16, 16, 4), r'Write clips\[\.\.\., :3\]\.'),
    (clips(1, 3, 16, 16, 1), r'Write clips\.repeat\(3, -1\)\.'),
    (clips(0, 4, 16, 16, 3), r'got uint8 \[0, 4, .* have no pixels'),
    (clips(1, 4, 0, 16, 3), r'got uint8 \[1, 4, 0, .* have no pixels'),
    (clips(1, 0, 16, 16, 3), r'got uint8 \[1, 0, .* have no pixels\.$'),
    (clips(0, 4, 16, 16, 3) * 1.0, 'have no pixels'),
    (clips(16, 16, 3), r'takes uint8 clips \[B 4 H W 3\]; got uint8 \[16, 16'),
  ],
)
def test_other_arrays_are_refused_with_the_line_to_write(model, wrong, words):
  with pytest.raises(ValueError, match=words):
    model(wrong)


def test_the_lines_to_write_are_right(model):
  batch = clips(2, 4, 16, 16, 3)
  np.testing.assert_array_equal(
    batch.transpose(0, 4, 1, 2, 3).transpose(0, 2, 3, 4, 1), batch
  )
  scaled = (255 * (batch / 255)).round().astype(np.uint8)
  np.testing.assert_array_equal(scaled, batch)


def test_a_file_its_frames_and_fj_predict_agree(model, folder, clip_file):
  answer = model.predict(clip_file)
  (same,) = fj.predict(folder / 'run', clip_file)
  np.testing.assert_array_equal(answer.probabilities, same.probabilities)
  assert answer.label == answer.top()[0][0]
  frames = frames_of(clip_file)
  (listed,) = fj.predict(model, [frames])
  for other in (model.predict(frames), model.predict(list(frames)), listed):
    np.testing.assert_allclose(
      other.probabilities, answer.probabilities, atol=1e-6
    )


def test_a_folder_gives_a_list_and_a_broken_file_an_error(
  model, folder, tmp_path
):
  assert len(model.predict(folder / 'clips' / 'test')) == 12
  broken = tmp_path / 'broken.mp4'
  broken.touch()
  with pytest.raises(ValueError, match=r'broken.mp4 cannot be read: the file'):
    model.predict(broken)


@pytest.mark.parametrize(
  ('wrong', 'words'),
  [
    (clips(4, 3, 16, 16), r'Write frames.transpose\(0, 2, 3, 1\)'),
    (clips(3, 4, 16, 16), r'Write frames.transpose\(1, 2, 3, 0\)'),
    (clips(4, 16, 16, 3) / 255, 'uint8'),
    (clips(3, 16, 16, 4), r'Write frames\[\.\.\., :3\]\.'),
    (clips(3, 16, 16, 1), r'Write frames\.repeat\(3, -1\)\.'),
    (clips(0, 16, 16, 3), r'got none: \[0, 16, 16, 3\]'),
    (clips(9, 0, 16, 3), r'got none: \[9, 0, 16, 3\]'),
    ([clips(9, 16, 16, 3), clips(9, 0, 16, 3)], r'got none: \[9, 0, 16, 3\]'),
  ],
)
def test_other_frames_are_refused(model, wrong, words):
  with pytest.raises(ValueError, match=words):
    model.predict(wrong)


def test_settings_belong_to_load(model, clip_file):
  with pytest.raises(TypeError, match=r'Give views and inputs to fj\.load'):
    fj.predict(model, clip_file, views='3x1')


class Broken(http.server.SimpleHTTPRequestHandler):
  """A server whose files with `half` in their names end too early."""

  protocol_version = 'HTTP/1.1'

  def do_GET(self):
    if 'half' not in self.path:
      super().do_GET()
      return
    self.send_response(200)
    chunked = 'chunked' in self.path
    self.send_header(*_LENGTHS[chunked])
    self.end_headers()
    self.wfile.write(b'400\r\n' * chunked + bytes(500))
    self.close_connection = True

  def log_message(self, *_):
    pass


_LENGTHS = ('Content-Length', '1000'), ('Transfer-Encoding', 'chunked')


def test_a_url_is_a_video(model, clip_file, tmp_path):
  shutil.copy(clip_file, tmp_path / 'a vidéo.mp4')
  handler = functools.partial(Broken, directory=str(tmp_path))
  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f'http://127.0.0.1:{server.server_port}'
    answers = model.predict(
      [
        f'{address}/a vidéo.mp4',
        f'{address}/a%20vid%C3%A9o.mp4',
        f'{address}/a vidéo.mp4'.replace('http', 'HTTP'),
      ]
    )
    for name, cause in {
      'absent.mp4': 'File not found',
      'half.mp4': 'after 500 of 1000 bytes',
      'half_chunked.mp4': 'the connection ended too early',
    }.items():
      message = f'{name} cannot be downloaded: .*{cause}'
      with pytest.raises(OSError, match=message) as error:
        model.predict(f'{address}/{name}?token=secret')
      assert 'secret' not in str(error.value)
    server.shutdown()
  assert [a.video for a in answers] == [
    *('a vidéo.mp4', 'a vidéo (2).mp4', 'a vidéo (3).mp4')
  ]
  for answer in answers:
    np.testing.assert_array_equal(
      answer.probabilities, model.predict(clip_file).probabilities
    )


@pytest.mark.parametrize(
  ('url', 'name'),
  [
    ('http://me:secret@host:80/a/b.mp4?token=secret#t=secret', 'b.mp4'),
    ('https://host/a/video/?token=secret', 'video'),
    ('https://me:secret@host:80?token=secret', 'host'),
    ('https://host/a/%2e%2e?token=secret', 'host'),
    ('https://host/o/a%2Fb.mp4', 'b.mp4'),
    ('https://host/x.a%00b', 'x.ab'),
  ],
)
def test_a_url_is_named_by_its_file_or_host_alone(url, name):
  assert find_videos._file_name(url) == name


@pytest.fixture
def cache(tmp_path, monkeypatch):
  monkeypatch.setattr(
    'flatten_jax.paths.cache', lambda name: tmp_path / 'cache' / name
  )
  return tmp_path / 'cache'


def test_weights_of_the_package_name_what_they_see(cache, tmp_path):
  model = fj.load('uniformer_nano/quickstart')
  assert model.loaded.source == 'uniformer_nano/quickstart'
  videos = motion_clips.make(
    tmp_path / 'clips', train=12, val=12, test=24, progress=False
  )
  found = model.predict(videos / 'test')
  right = [p.label == pathlib.Path(p.video).parent.name for p in found]
  assert sum(right) >= 20
  (made,) = (cache / 'published').iterdir()
  assert re.fullmatch('uniformer_nano_quickstart_[0-9a-f]{8}', made.name)


def test_weights_that_see_clips_otherwise_get_another_folder(
  cache, monkeypatch
):
  before = published._cache('uniformer_nano', 'quickstart')
  entry = models.MODELS['uniformer_nano']
  other = dataclasses.replace(
    entry.weights['quickstart'], input={'sampling': 'even'}
  )
  changed = dataclasses.replace(entry, weights={'quickstart': other})
  monkeypatch.setitem(models.MODELS, 'uniformer_nano', changed)
  assert published._cache('uniformer_nano', 'quickstart') != before


def test_names_of_published_weights_are_as_many_as_their_classes():
  sizes = {'kinetics400': 400, 'ssv2': 174, 'motions': 119, 'quickstart': 12}
  for source in published.known_names():
    name, _, weights = source.partition('/')
    names = models.MODELS[name].weights[weights].read_class_names()
    assert len(set(names)) == len(names) == sizes[weights.partition('_')[0]]
  for weights in ('motions', 'motions_rgb'):
    motions = models.MODELS['uniformer_nano'].weights[weights]
    assert motions.read_class_names() == tuple(sorted(many_motions.CLASSES))


def test_publishers_number_kinetics_differently():
  def names(model, weights):
    return models.MODELS[model].weights[weights].read_class_names()

  alphabetical = names('video_swin_t', 'kinetics400')
  own = names('uniformer3d_s', 'kinetics400')
  assert sorted(own) == sorted(alphabetical)
  assert alphabetical[0] == 'abseiling' and alphabetical[290].startswith(
    'sharp'
  )
  assert own[:3] == ('riding a bike', 'marching', 'dodgeball')
  assert not any(a == b for a, b in zip(own, alphabetical, strict=True))
  for name in models.list_models('timesformer_?*'):
    weights = models.MODELS[name].weights
    assert not any(
      'kinetics' in k and w.class_names for k, w in weights.items()
    )
  assert not names('vivit_b', 'kinetics400') + names('vtn_b', 'kinetics400')
  assert len(names('timesformer_b', 'ssv2')) == 174


@pytest.mark.parametrize(
  ('source', 'words'),
  [
    ('uniformer_nano/motion', "Did you mean 'motions'"),
    ('resnet50/imagenet1k', 'class names of resnet50/imagenet1k are not'),
    ('uniformer_test/x', 'Published for uniformer_test: none'),
  ],
)
def test_other_weights_are_refused(cache, source, words):
  with pytest.raises(ValueError, match=words):
    fj.load(source)


def test_a_model_starts_from_a_run(folder, model):
  fresh = fj.create_model('uniformer_test', 12, pretrained=folder / 'run')
  images = np.random.default_rng(1).standard_normal((2, 32, 32, 3), np.float32)
  np.testing.assert_allclose(fresh(images), model.module(images), atol=1e-6)
  assert fresh.input_spec.num_frames == 4
  assert fresh.input_spec.crop == 16
  other = fj.create_model('uniformer_test', 5, pretrained=str(folder / 'run'))
  assert other(images).shape == (2, 5)


def test_pretrained_may_be_true():
  with pytest.raises(ValueError, match='no published weights for uniformer_t'):
    fj.create_model('uniformer_test', pretrained=True)
  assert 'uniformer_nano' in fj.list_models(pretrained=True)
  assert 'uniformer_test' not in fj.list_models(pretrained=True)
  assert fj.list_models('uniformer_n*') == ['uniformer_nano']
