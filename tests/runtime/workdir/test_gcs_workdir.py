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


@pytest.fixture(autouse=True)
def bucket(tmp_path, monkeypatch):
  """The folder of gs://bucket; mirrors are in a cache of their own."""
  monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, 'gs', Bucket(tmp_path))
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  return tmp_path / 'bucket'


def test_a_workdir_in_a_bucket_has_a_local_mirror(tmp_path):
  """Orbax writes the checkpoints to the bucket."""
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


@pytest.mark.parametrize('locked', ['.', 'fold_0_seed_0'])
def test_another_command_leaves_the_mirror_of_a_training_as_it_is(
  locked, bucket
):
  with (
    gcs_workdir.mirrored_workdir('gs://bucket/run') as folder,
    workdirs.exclusive(folder / locked),
  ):
    metrics = folder / locked / 'metrics.jsonl'
    metrics.write_text('{"step": 1}\n')
    gcs_workdir.upload(folder)
    with metrics.open('a') as file:
      file.write('{"step": 2}\n')
    with gcs_workdir.mirrored_workdir('gs://bucket/run') as other:
      assert other == folder
      (other / 'results.json').write_text('{}')
    assert len(metrics.read_text().splitlines()) == 2
    assert not (bucket / 'run' / 'results.json').exists()
  assert (bucket / 'run' / 'results.json').exists()
  copy = bucket / 'run' / locked / 'metrics.jsonl'
  assert len(copy.read_text().splitlines()) == 2


def test_a_lock_of_a_process_that_was_killed_is_free(bucket):
  (bucket / 'run').mkdir(parents=True)
  (bucket / 'run' / 'log.txt').write_text('first\n')
  with gcs_workdir.mirrored_workdir('gs://bucket/run') as folder:
    (folder / workdirs.LOCK).write_text('{"host": "here", "pid": 1}\n')
    (folder / 'log.txt').unlink()
  with gcs_workdir.mirrored_workdir('gs://bucket/run') as folder:
    assert (folder / 'log.txt').read_text() == 'first\n'


def test_a_run_that_was_deleted_from_a_bucket_does_not_come_back(bucket):
  for name in ('old.json', 'new.json'):
    with gcs_workdir.mirrored_workdir('gs://bucket/run') as folder:
      assert not [path for path in folder.iterdir() if path.name[0] != '.']
      (folder / 'fold_0_seed_0').mkdir()
      (folder / name).write_text('{}')
      (folder / 'fold_0_seed_0' / name).write_text('{}')
    found = {path.name for path in (bucket / 'run').rglob('*.json')}
    assert found == {name}
    shutil.rmtree(bucket)


def test_the_error_about_videos_in_a_bucket_suggests_a_mount(config):
  config.data.root = 'gs://bucket/videos'
  with pytest.raises(ValueError, match=r'data\.root=gs.*Mount'):
    context.open_videos(config)
