# SPDX-License-Identifier: Apache-2.0
"""Networks under timm's names train, and show what they look at."""

import json

import jax
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.checkpoints.load import load_model
from flatten_jax.explanation import attention_maps, clip_explanation
from flatten_jax.runtime import context
from flatten_jax.runtime.configuration import config as configs

OPTIONS = {
  'vit_test': {'remat': True, 'dtype': 'bfloat16'},
  'convnext_test': {'depth': (1, 1)},  # Compiles faster.
}


@pytest.mark.parametrize('name', OPTIONS)
def test_a_network_of_timm_trains_on_flattened_clips(name, config, tmp_path):
  del config.model.depth
  config.model.name = name
  config.model.update(OPTIONS[name])
  config.freeze, config.freeze_epochs = 'stage1', 0.5
  config.layer_decay, config.ema, config.epochs = 0.75, 0.9, 1.0
  config.warmup_epochs = 0.0
  config = configs.fill_and_check(config)
  state = fj.train_and_evaluate(config, tmp_path)

  leaves = jax.tree.leaves(state.params)
  assert all(np.isfinite(x).all() for x in leaves)
  assert {x.dtype.name for x in leaves} == {'float32'}
  log = (tmp_path / 'log.txt').read_text()
  assert 'the stem and what follows up to stage1 are not trained' in log
  found = json.loads((tmp_path / 'results.json').read_text())['test']
  assert found['scored'] == 12
  model = load_model(tmp_path)
  videos = context.open_videos(config)['test']
  look = clip_explanation.explain_clip(model, videos, 0)
  if name == 'vit_test':  # Two by two patches of each of four frames.
    assert look.evidence[0].shape == (4, 4)
    attention = attention_maps.frame_attention(look)
    assert [x.shape for x in attention.values()] == [(5, 5)] * 2
    np.testing.assert_allclose(attention['2'].sum(axis=1), 1, rtol=1e-2)
  else:
    assert [x.shape for x in look.evidence] == [(8, 8), (4, 4)]
