# SPDX-License-Identifier: Apache-2.0
"""Checkpoints are written and read in folders of any name."""

import os

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from flatten_jax.checkpoints import checksums
from flatten_jax.checkpoints.manager import Manager

NAMES = [
  'exp[1]',
  '[!x]',
  'a*b?',
  'a**b',
  '{a,b}',
  '50%20#1&c',
  r'back\slash',
  'new\nline',
  'gs:',
  ' "blanks" ',
  "it's",
  '日本',
  os.fsdecode(b'caf\xe9'),  # Not UTF-8.
  '/'.join(['long' * 20] * 10),
]


@pytest.mark.parametrize('name', NAMES, ids=ascii)
def test_a_folder_may_have_any_name(name, tmp_path):
  folder = tmp_path / name / 'checkpoints'
  manager = Manager(folder, keep_last=1, create=True)
  for step in (1, 2):
    state = ocp.args.PyTreeSave({'a': jnp.arange(4.0) + step})
    manager.start(step, ocp.args.Composite(state=state), None)
  manager.finish()
  manager.close()
  assert sorted(path.name for path in folder.iterdir()) == ['2']
  assert checksums.has_checksums(folder / '2')
  manager = Manager(folder, keep_last=1, create=False)
  wanted = {'a': np.zeros(4, np.float32)}
  how = ocp.checkpoint_utils.construct_restore_args(wanted)
  args = ocp.args.PyTreeRestore(wanted, restore_args=how)
  args = ocp.args.Composite(state=args)
  assert manager.restore(2, args=args)['state']['a'].tolist() == [2, 3, 4, 5]
  manager.close()
