# SPDX-License-Identifier: Apache-2.0
"""Runs commands, and makes the files that the README's commands name."""

import importlib.util
import pathlib
import shutil
import socket
import subprocess
import sys
import urllib.request

import pytest

from flatten_jax.inputs.synthetic import motion_clips
from tests.support import readme
from tests.support.command_server import ROOT, CommandServer, one_device
from tests.support.demo_server import DemoServer
from tests.support.video_maker import moving_square, write_video


@pytest.fixture(scope='session')
def server():
  """Runs commands in processes that start fast."""
  server = CommandServer()
  yield server
  server.close()


@pytest.fixture
def run_readme(server, tmp_path):
  """Runs the README's commands of a group, in their order."""
  make_files(tmp_path)

  def run(group: str) -> pathlib.Path:
    for line in readme.GROUPS[group]:
      arguments = readme.made_small(line, tmp_path)
      start = cold_start if line == readme.commands()[0] else server.run
      start = visit if readme.mode_of(line) == 'demo' else start
      done = start(arguments, path=tmp_path)
      assert done.returncode == 0, f'{line}\n{done.stdout}\n{done.stderr}'
    return tmp_path

  return run


def cold_start(
  arguments: list[str], path: pathlib.Path
) -> subprocess.CompletedProcess:
  """Runs `python <arguments>` as a user does."""
  return subprocess.run(
    [sys.executable, *arguments],
    cwd=ROOT,
    env=one_device() | {'PYTHONPATH': str(path)},
    capture_output=True,
    text=True,
    check=False,
  )


def visit(
  arguments: list[str], path: pathlib.Path
) -> subprocess.CompletedProcess:
  """Runs a command that serves a page until the page was asked for.

  Without Gradio, it has to say how to install it.
  """
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  demo = DemoServer([*arguments, f'--port={port}'], path)
  if demo.url:
    with urllib.request.urlopen(demo.url) as page:
      assert b'gradio_config' in page.read()
  status = demo.stop()
  if importlib.util.find_spec('gradio') is None:
    status = 'pip install "flatten-jax[demo]"' not in demo.output
  return subprocess.CompletedProcess(arguments, status, demo.output, '')


def make_files(folder: pathlib.Path) -> None:
  """Makes small videos, lists and modules in place of the README's."""
  videos = motion_clips.make(
    folder / 'embedded', train=24, val=12, test=12, progress=False
  )
  write_video(folder / 'camera.mp4', moving_square(60), rate=10)
  rows = ['path,label,fold']
  for number, path in enumerate(sorted((videos / 'train').rglob('*.mp4'))):
    rows.append(f'{path},{path.parent.name},{number % 2}')
  publish_as_kinetics(videos, folder / 'published')
  publish_as_hmdb(videos / 'train', folder / 'hmdb51')
  for name, text in readme.snippets().items():
    (folder / name).write_text(text)
  (folder / 'clips.csv').write_text('\n'.join(rows) + '\n')
  several = [row.rsplit(',', 1)[0] for row in rows]
  several[2::2] = [f'{row};right' for row in several[2::2]]
  (folder / 'labels.csv').write_text('\n'.join(several) + '\n')
  # Two clips of each class follow each other: one goes to each list.
  for name, first in (('train', 1), ('test', 2)):
    lines = [row.rsplit(',', 1)[0] for row in rows[:1] + rows[first::2]]
    (folder / f'{name}.csv').write_text('\n'.join(lines) + '\n')


def publish_as_kinetics(videos: pathlib.Path, folder: pathlib.Path) -> None:
  """Copies the videos, with the annotations and file names of Kinetics."""
  for split in ('train', 'val'):
    rows = ['label,youtube_id,time_start,time_end,split']
    for number, path in enumerate(sorted((videos / split).rglob('*.mp4'))):
      name = f'{split[:3]}-{number:07d}'
      rows.append(f'{path.parent.name},{name},10,20,{split}')
      target = folder / 'videos' / split / f'{name}_000010_000020.mp4'
      target.parent.mkdir(parents=True, exist_ok=True)
      shutil.copy(path, target)
    (folder / 'annotations').mkdir(exist_ok=True)
    table = folder / 'annotations' / f'{split}.csv'
    table.write_text('\n'.join(rows) + '\n')


def publish_as_hmdb(videos: pathlib.Path, folder: pathlib.Path) -> None:
  """Copies the videos, with the splits of HMDB51: 1 to train on, 2 to test."""
  shutil.copytree(videos, folder / 'videos')
  (folder / 'splits').mkdir()
  for label in sorted(videos.iterdir()):
    names = enumerate(sorted(path.name for path in label.iterdir()))
    text = ''.join(f'{name} {1 + number % 2}\n' for number, name in names)
    for split in (1, 2, 3):
      file = f'{label.name}_test_split{split}.txt'
      (folder / 'splits' / file).write_text(text)
