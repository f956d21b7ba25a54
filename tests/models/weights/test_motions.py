# SPDX-License-Identifier: Apache-2.0
"""The weights that come with the package know motions of new clips."""

import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.inputs.synthetic import many_motions, textured_scene
from flatten_jax.inputs.video import encode


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
  """A folder with a clip of every third motion, in their order."""
  folder = tmp_path_factory.mktemp('motions')
  for number, name in enumerate(many_motions.CLASSES[::3]):
    rng = np.random.default_rng((2, number))
    frames = textured_scene.render(name, rng)
    encode.write_video(folder / f'{number:03d}.mp4', frames, 12)
  return folder


@pytest.mark.parametrize(
  ('weights', 'least'),
  [
    ('motions', 0.75),  # Of other clips .908; chance is .008.
    ('motions_rgb', 0.65),  # .807.
  ],
)
def test_the_weights_of_the_package_name_motions_of_new_clips(
  clips, weights, least
):
  names = many_motions.CLASSES
  model = fj.create_model('uniformer_nano', len(names), pretrained=weights)
  found = fj.predict(model, clips, class_names=sorted(names))
  right = [
    prediction.top()[0][0] == name
    for prediction, name in zip(found, names[::3], strict=True)
  ]
  assert np.mean(right) > least
