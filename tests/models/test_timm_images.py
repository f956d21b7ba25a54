# SPDX-License-Identifier: Apache-2.0
"""ViT, ConvNeXt and EfficientNet-Lite compute what timm does, by its names."""

import jax
import numpy as np
import pytest

from tests.support import timm_images
from tests.support.official import assert_close

LARGE = [
  pytest.param(case, marks=pytest.mark.large) for case in timm_images.FULL
]


@pytest.mark.parametrize('case', [*timm_images.TWINS, *LARGE])
def test_everything_agrees_with_timm_in_float64(case):
  with jax.enable_x64(True):
    found = timm_images.summary(timm_images.run(case, 'float64'))

  for key, value in timm_images.truth(case).items():
    assert_close(found[key], value, name=key)


@pytest.mark.parametrize('case', ['vit_test_rectangle', *LARGE])
def test_logits_agree_with_timm_to_1e_5_in_float32(case):
  found = timm_images.summary(timm_images.run(case, 'float32'))

  truth = timm_images.truth(case)
  np.testing.assert_allclose(found['logits'], truth['logits'], atol=1e-5)
  for key in ('image', 'image_norms', 'parameters'):
    assert_close(found[key], truth[key], rtol=0, atol=1e-5, name=key)
