# SPDX-License-Identifier: Apache-2.0
"""What run.json knows of the videos and of the config file."""

import json
import types

import pytest

from flatten_jax.inputs.sources.dataset import Record, Videos
from flatten_jax.training import run_summary


def test_videos_of_a_class_are_counted_by_split_without_unlabelled_ones():
  def split(*labels):
    records = (Record(str(i), str(i), k) for i, k in enumerate(labels))
    return Videos(tuple(records), ('a', 'b', 'c'))

  splits = {'train': split(0, 0, 2), 'test': split(1, -1)}
  assert run_summary.class_videos(splits) == {
    'train': [2, 0, 1],
    'test': [0, 1, 0],
  }


def test_a_run_that_is_resumed_keeps_its_command(tmp_path):
  assert run_summary.of_command(tmp_path) == {'config_file': ''}
  known = {'config_file': 'configs/folder.py', 'overrides': ['data.root']}
  text = json.dumps(known | {'config': {}})
  (tmp_path / 'run.json').write_text(text)
  assert run_summary.of_command(tmp_path) == known


@pytest.mark.parametrize(
  ('flag', 'name'),
  [
    ({}, ''),  # Of another program.
    ({'config_filename': 'x.py', 'present': 0}, ''),
    ({'config_filename': '/a/configs/x.py:b=1'}, 'configs/x.py:b=1'),
    ({'config_filename': '/a/configs/x.py:b=/c/d'}, 'configs/x.py:b=/c/d'),
    ({'config_filename': 'mine/x.py'}, 'mine/x.py'),
  ],
)
def test_the_config_file_is_that_of_the_command_line(monkeypatch, flag, name):
  found = types.SimpleNamespace(**{'present': 1} | flag)
  fake = types.SimpleNamespace(FLAGS={'config': found})
  monkeypatch.setattr(run_summary, 'flags', fake)
  assert run_summary.config_file() == name
  fake.FLAGS = {}
  assert run_summary.config_file() == ''


@pytest.mark.parametrize('text', ['{"a"', '[1]', ''])
def test_a_damaged_run_json_is_empty(tmp_path, text):
  (tmp_path / 'run.json').write_text(text)
  assert run_summary.read(tmp_path) == {}
  run_summary.mark_finished(tmp_path)
  assert run_summary.read(tmp_path) == {'finished': True}
