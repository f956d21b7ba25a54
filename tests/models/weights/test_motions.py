# SPDX-License-Identifier: Apache-2.0
"""The weights that come with the package know motions of new clips."""

import numpy as np

import flatten_jax as fj
from flatten_jax.inputs.synthetic import many_motions, textured_scene
from flatten_jax.inputs.video import encode


def test_the_weights_of_the_package_name_motions_of_new_clips(tmp_path):
  names = many_motions.CLASSES
  model = fj.create_model('uniformer_nano', len(names), pretrained='motions')
  wanted = names[::3]
  for number, name in enumerate(wanted):
    rng = np.random.default_rng((2, number))
    frames = textured_scene.render(name, rng)
    encode.write_video(tmp_path / f'{number:03d}.mp4', frames, 12)
  found = fj.predict(model, tmp_path, class_names=sorted(names))
  right = [
    prediction.top()[0][0] == name
    for prediction, name in zip(found, wanted, strict=True)
  ]
  assert np.mean(right) > 0.75  # Of other clips .908; chance is .008.
