# SPDX-License-Identifier: Apache-2.0
"""The README's commands on the embedded videos."""

import json


def test_the_commands_on_the_embedded_videos_run(run_readme):
  files = run_readme('quickstart')
  results = json.loads((files / 'quickstart' / 'results.json').read_text())
  assert results['test']['videos'] == 12
