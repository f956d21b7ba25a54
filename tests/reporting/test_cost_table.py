# SPDX-License-Identifier: Apache-2.0
"""The costs of the paper's Table 1 and ours agree."""

import pytest

from configs import k400_uniformer_xxs
import flatten_jax as fj
from flatten_jax.reporting import cost_table

# Multiply-adds of the official PyTorch models, in 10^9, and parameters in
# millions, in the order of the table.
OFFICIAL = [
  (3.239, 9.834),
  (6.866, 9.834),
  (10.528, 9.383),
  (22.857, 9.383),
  (17.613, 21.400),
  (41.757, 21.400),
  (47.480, 21.237),
  (107.265, 21.237),
  (70.883, 27.886),
  (125.31, 43.320),
]


@pytest.mark.slow
def test_every_row_is_near_the_official_model_and_the_paper():
  config = k400_uniformer_xxs.get_config('frames=9')
  config.data.num_clips = 4
  lines = fj.cost_table(config).splitlines()
  for line, row, (gflops, params) in zip(
    lines[1:], cost_table.PAPER, OFFICIAL, strict=False
  ):
    words = line.replace(',', ' ').split()
    assert words[0] == row.name
    assert f'{row.gflops:g}' in words
    found = float(words[words.index(f'{row.gflops:g}') - 1])
    assert found == pytest.approx(gflops, rel=3e-3)
    assert float(words[-2]) == pytest.approx(params, rel=3e-3)
    assert found == pytest.approx(row.gflops, rel=0.02)  # 3.3 is 1.8 % above.
  assert lines[-1].endswith('10.528 x 4 = 42.114 GFLOPs.')
  assert lines[-2].split()[:5] == ['uniformer_xxs', '9', '480', 'x', '480']
