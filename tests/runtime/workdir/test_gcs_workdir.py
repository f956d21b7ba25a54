# SPDX-License-Identifier: Apache-2.0
"""Workdirs in buckets, tested with a folder in place of a bucket."""

import os
import pathlib
import shutil

from etils import epath
from etils.epath import backend, gpath
import pytest

from flatten_jax.runtime import context
from flatten_jax.runtime.workdir import gcs_workdir, workdirs


class Bucket:
  """A backend of epath that keeps gs:// paths in a folder."""

  def __init__(self, folder):
    self.folder = folder

  def __getattr__(self, name):
    def call(*paths, **options):
      places = [
        str(self.folder / path[5:]) if path.startswith('gs://') else path
        for path in map(os.fspath, paths)
      ]
      return getattr(backend.os_backend, name)(*places, **options)

    return call


def test_a_workdir_in_a_bucket_has_a_local_mirror(tmp_path, monkeypatch):
  """Orbax writes the checkpoints to the bucket."""
  bucket = Bucket(tmp_path)
  monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, 'gs', bucket)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  with gcs_workdir.mirrored_workdir('gs://bucket/run') as folder:
    assert gcs_workdir.checkpoint_root(folder) == epath.Path('gs://bucket/run')
    own = folder / 'fold_0_seed_0'
    assert gcs_workdir.checkpoint_root(own) == epath.Path(
      'gs://bucket/run/fold_0_seed_0'
    )
    own.mkdir()
    (own / 'metrics.jsonl').write_text('{"step": 1}\n')
    (folder / 'log.txt').write_text('first\n')
    gcs_workdir.upload(own)
    assert (tmp_path / 'bucket' / 'run' / 'log.txt').read_text() == 'first\n'
  shutil.rmtree(tmp_path / 'cache')  # Another machine.
  with gcs_workdir.mirrored_workdir('gs://bucket/run') as folder:
    assert (folder / 'fold_0_seed_0' / 'metrics.jsonl').exists()
    with (folder / 'log.txt').open('a') as file:
      file.write('second\n')
  text = (tmp_path / 'bucket' / 'run' / 'log.txt').read_text()
  assert text == 'first\nsecond\n'
  with gcs_workdir.mirrored_workdir('runs/local') as folder:
    assert folder == pathlib.Path('runs/local')
  with pytest.raises(ValueError, match='not a folder'):
    workdirs.local_folder('gs://bucket/run')


def test_the_error_about_videos_in_a_bucket_suggests_a_mount(config):
  config.data.root = 'gs://bucket/videos'
  with pytest.raises(ValueError, match=r'data\.root=gs.*Mount'):
    context.open_videos(config)
