# SPDX-License-Identifier: Apache-2.0
"""Checkpoints are written and read in folders of any name."""

import errno
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


def test_a_checkpoint_stays_until_another_of_its_step_is_there(
  tmp_path, monkeypatch
):
  folder = tmp_path / 'checkpoints'
  state = ocp.args.PyTreeSave({'a': jnp.arange(4.0)})
  args = ocp.args.Composite(state=state)
  manager = Manager(folder, keep_last=1, create=True)
  manager.start(5, args, None)
  manager.finish()
  before = (folder / '5' / 'checksums.json').stat().st_ino

  def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  with monkeypatch.context() as patch:
    patch.setattr(manager, 'save', full)
    with pytest.raises(OSError, match=r'could not be saved.* after step 5'):
      manager.start(5, args, {'top1': 1.0})
  manager.close()
  # A kill in the middle leaves it aside.
  (folder / '5').rename(tmp_path / 'replaced_checkpoint_5')
  manager = Manager(folder, keep_last=1, create=True)
  assert manager.all_steps() == [5] and manager.metrics(5) is None
  assert (folder / '5' / 'checksums.json').stat().st_ino == before
  manager.start(5, args, {'top1': 1.0})
  manager.finish()
  assert manager.all_steps() == [5] and manager.metrics(5) == {'top1': 1.0}
  manager.close()
  assert [path.name for path in tmp_path.iterdir()] == ['checkpoints']


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
