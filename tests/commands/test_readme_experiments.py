# SPDX-License-Identifier: Apache-2.0
"""The README's commands for folds and for the ablation."""


def test_the_commands_that_train_several_times_run(run_readme):
  run_readme('experiments')
