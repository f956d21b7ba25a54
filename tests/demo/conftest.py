# SPDX-License-Identifier: Apache-2.0
"""The bundled model, and videos of the motions that it knows."""

import pytest

from flatten_jax.demo import answers, example_videos


@pytest.fixture(scope='session')
def model():
  return answers.open_model()


@pytest.fixture(scope='session')
def videos(tmp_path_factory):
  """Paths by name."""
  folder = tmp_path_factory.mktemp('demo')
  return {path.stem: path for path in example_videos.make(folder)}


@pytest.fixture(scope='session')
def left(model, videos):
  """The answer to an object that moves to the left."""
  return answers.answer(model, videos['left'])
