# SPDX-License-Identifier: Apache-2.0
"""What the runs of a config keep."""

import json

from flatten_jax.evaluation import evaluate
from flatten_jax.experiments import runs


def test_a_test_is_kept_if_it_could_read_as_many_videos(tmp_path, monkeypatch):
  results = {'test': {'top1': 50.0, 'scored': 12}}
  (tmp_path / 'results.json').write_text(json.dumps(results))
  scored = iter([11, 12])
  monkeypatch.setattr(
    evaluate,
    'evaluate_with',
    lambda folder, changes: {'top1': 25.0, 'scored': next(scored)},
  )
  tests = {'shuffled': {'eval_frame_order': 'shuffled'}}
  assert runs.probe({0: [tmp_path]}, tests) == {'shuffled': [25.0]}
  assert not (tmp_path / 'probes.json').exists()  # Videos were missing.
  for _ in range(2):  # The second time, it is read.
    assert runs.probe({0: [tmp_path]}, tests) == {'shuffled': [25.0]}
  kept = json.loads((tmp_path / 'probes.json').read_text())
  assert kept == {'shuffled': 25.0}
