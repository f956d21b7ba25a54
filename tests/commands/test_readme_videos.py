# SPDX-License-Identifier: Apache-2.0
"""The README's commands on one's own and on published videos."""


def test_the_commands_on_other_videos_run(run_readme):
  run_readme('videos')
