# SPDX-License-Identifier: Apache-2.0
"""Folders of published weights."""

import os
import pathlib
import shutil

import pytest

import flatten_jax as fj
from flatten_jax.checkpoints import published
from flatten_jax.runtime import portable

NAME = 'uniformer_nano/quickstart'


def half_a_file(source, target, **options):
  """Ends the process in the middle of a copy."""
  del options
  pathlib.Path(target).write_bytes(pathlib.Path(source).read_bytes()[:99])
  raise KeyboardInterrupt


def no_file(source, target):
  raise KeyboardInterrupt


@pytest.mark.parametrize('is_faster', [False, True])
def test_a_process_that_is_ended_leaves_no_broken_model(
  is_faster, tmp_path, monkeypatch
):
  folder, make = tmp_path / 'uniformer_nano_quickstart', published._make
  with monkeypatch.context() as patch:

    def made(new, *args):
      make(new, *args)
      if is_faster:  # Another process, which has made the same.
        shutil.copytree(new, folder, dirs_exist_ok=True)
      patch.setattr(shutil, 'copyfile', half_a_file)
      patch.setattr(os, 'replace', no_file)

    patch.setattr(published, '_make', made)
    with pytest.raises(KeyboardInterrupt):
      published.workdir(NAME, tmp_path)
  assert list(tmp_path.iterdir()) == [folder]
  assert portable.is_model(folder) == is_faster
  assert published.workdir(NAME, tmp_path) == folder
  assert len(fj.load(folder).class_names) == 12
