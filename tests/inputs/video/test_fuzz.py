# SPDX-License-Identifier: Apache-2.0
"""A small run of benchmarks/fuzz_decoding.py."""

import importlib.util
import pathlib

import pytest

from flatten_jax.inputs.video.reader import Reader
from tests.support.video_maker import moving_square, write_video

FILE = pathlib.Path(__file__).parents[3] / 'benchmarks' / 'fuzz_decoding.py'


@pytest.fixture(scope='module')
def fuzzing():
  """The benchmark, as a module."""
  spec = importlib.util.spec_from_file_location('fuzz_decoding', FILE)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('fuzz')
  frames = moving_square(20)
  for name, codec in {
    'a.mp4': 'libx264',
    'b.mkv': 'libx264',
    'c.avi': 'mpeg4',
    'd.webm': 'libvpx',
  }.items():
    write_video(folder / name, frames, codec, options={'g': '8'})
  return folder


def test_damaged_videos_give_frames_or_a_clear_error(fuzzing, folder, tmp_path):
  originals, reader = fuzzing.load(folder), Reader({'time_limit': 20.0})
  assert len(originals) == 4
  words = set()
  for number in range(160):
    kind, name, data = fuzzing.mutate(number, originals)
    path = tmp_path / f'{number}{pathlib.Path(name).suffix}'
    path.write_bytes(data)
    word, cause = fuzzing.outcome(path, reader)
    assert word in fuzzing.GOOD, (number, kind, name, word, cause)
    words.add(word)
  assert {'frames', 'error'} <= words


def test_a_mutation_is_a_function_of_its_number(fuzzing, folder):
  originals = fuzzing.load(folder)
  for number in range(len(fuzzing.MUTATIONS)):
    kind, name, data = fuzzing.mutate(number, originals)
    assert (kind, name, data) == fuzzing.mutate(number, originals)
    assert data != dict(originals)[name]
