# SPDX-License-Identifier: Apache-2.0
"""The paper's tables: published costs and ours."""

import dataclasses

import pytest

from configs import k400_uniformer_xxs, k400_vtn_b
import flatten_jax as fj
from flatten_jax.models import MODELS, input_spec
from flatten_jax.models.entries import video_transformers
from flatten_jax.reporting import cost_table, paper_tables

# Multiply-adds of the official models, in 10^9, and parameters in millions, in
# the order of the tables.
OFFICIAL = [
  (360.12, 54.394),
  (214.06, 53.775),
  (235.02, 60.080),
  (4401.8, 113.50),
  (1436.76, 307.51),
  (584.0, 91.12),
  (196.053, 121.566),
  (1704.469, 122.024),
  (2382.535, 121.634),
  (88.062, 28.158),
  (281.923, 88.049),
  (281.923, 88.049),
  (3.239, 9.834),
  (6.866, 9.834),
  (17.613, 21.400),
  (41.757, 21.400),
  (10.528, 9.383),
  (22.857, 9.383),
  (47.480, 21.237),
  (107.265, 21.237),
  (70.883, 27.886),
  (125.31, 43.320),
  # Something-Something V2.
  (102.74, 23.865),
  (66.065, 34.046),
  (71.77, 24.42),
  (196.053, 121.393),
  (1704.469, 121.850),
  (1580.977, 121.460),
  (988.98, 354.67),
  (320.946, 88.834),
  (41.757, 21.284),
  (107.265, 21.122),
  # HMDB51.
  (1.664, 90.525),
  (2.614, 90.605),
  (50.98, 10.323),
  (57.85, 10.344),
  (584.0, 90.85),
  (111.3, 12.340),
  (66.82, 23.684),
  (41.757, 21.221),
  (107.265, 21.058),
]
# Costs without norms, where those are what was published.
NO_NORMS = {
  'i3d_r101_nl_long359': 359.10,
  'slowfast_r101': 213.02,
  'slowfast_r101_nl': 233.96,
  'slowfast_r50': 65.71,
}
# Published figures that count otherwise, by more than the others do.
COUNT_OTHERWISE = {'vtn_b': 1.104, 'vidtr_l': 1.664}
ROWS = [row for table in paper_tables.TABLES for row in table.rows]


@pytest.mark.slow
def test_every_row_is_near_the_official_model_and_what_was_published():
  config = k400_uniformer_xxs.get_config('frames=9')
  config.data.num_clips = 4
  text = fj.cost_table(config)
  assert max(map(len, text.splitlines())) <= 100
  lines = [x.removeprefix('+ ') for x in text.splitlines()]
  lines = [x for x in lines if x.startswith((*NAMES,))]
  own = lines.pop()
  for line, row, official in zip(lines, ROWS, OFFICIAL, strict=True):
    assert line.startswith(row.model + row.label)
    words = line.removeprefix(row.model + row.label).split()
    assert words[:3] == [str(row.frames), 'x', str(row.side)]
    params, gflops = float(words[3]), float(words[5])
    assert (gflops, params) == pytest.approx(official, rel=3e-3)
    if row.top1:
      assert f'{row.top1:.1f}' in words
    if row.gflops:
      assert words[6] == f'{row.gflops:g}'
      ratio = COUNT_OTHERWISE.get(row.model, 1)
      assert gflops / row.gflops == pytest.approx(ratio, rel=0.02)
  plain = ' '.join(text.split())
  for name, gflops in NO_NORMS.items():
    assert f'{name} {gflops}' in plain
  assert ' '.join(own.split()[:7]) == 'uniformer_xxs 9 x 160 480 x 480'
  assert text.endswith('10.528 x 4 = 42.114 GFLOPs.')


NAMES = {row.model for row in ROWS}


def test_the_cost_of_a_config_is_that_of_its_test_views():
  text = cost_table.of_config(k400_vtn_b.get_config())
  assert '250 x 224' in text
  assert text.endswith('x 1 = 4402.453 GFLOPs.')


def test_every_note_is_of_a_row_and_every_row_has_its_notes():
  assert {note for row in ROWS for note in row.notes.split()} == {
    *paper_tables.NOTES
  }


def test_a_row_gives_the_options_that_its_model_has():
  for row in ROWS:
    fields = dataclasses.fields(MODELS[row.model].config)
    assert {name for name, _ in row.options} <= {x.name for x in fields}


def test_views_and_inputs_of_the_tables_are_those_of_the_published_weights():
  compared = [
    (row, input_spec(row.model, name))
    for name, table in zip(
      ('kinetics400', 'ssv2', 'hmdb51'), paper_tables.TABLES, strict=True
    )
    for row in table.rows
    if row.model in video_transformers.MODELS
    and name in MODELS[row.model].weights
  ]
  assert len(compared) == 12
  for row, spec in compared:
    assert row.views == (spec.num_crops, spec.num_clips)
    assert row.frames == (spec.test_frames or spec.num_frames)
    assert row.side == spec.crop
