# SPDX-License-Identifier: Apache-2.0
"""The embedded data set: H.264 files in class folders, made in a minute.

    python -m flatten_jax.inputs.synthetic.motion_clips --out data/motion_clips

writes {train,val,test}/<class>/<id>.mp4, to be read like anyone's folder of
videos. Twelve classes that only motion tells apart; see `motion_paths`.
"""

import argparse
from collections.abc import Iterable
import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import pathlib
import shutil
import tempfile
import time

import numpy as np
import tqdm

from flatten_jax.inputs.synthetic.paths import CLASSES, Difficulty
from flatten_jax.inputs.synthetic.render import render
from flatten_jax.inputs.synthetic.scene import draw_scene
from flatten_jax.inputs.video.encode import write_video
from flatten_jax.inputs.workers import end_with_parent

MARKER = 'motion_clips.json'
VERSION = 1  # of the files' content: raise it when the same seed gives others
SPLITS = ('train', 'val', 'test')


@dataclasses.dataclass(frozen=True)
class Settings:
  """All that the content of the folder depends on; kept in its marker."""

  seed: int
  train: int
  val: int
  test: int
  size: int
  num_frames: int
  fps: int
  difficulty: Difficulty = dataclasses.field(default_factory=Difficulty)

  def __post_init__(self):
    if self.seed < 0:
      raise ValueError(f'The seed must be 0 or more, not {self.seed}.')
    if min(self.train, self.val, self.test) < 0:
      raise ValueError('Numbers of clips must be 0 or more.')
    if self.size < 16 or self.size % 2:
      raise ValueError(f'H.264 needs an even size of 16 up, not {self.size}.')
    if self.num_frames < 2 or self.fps < 1:
      raise ValueError(
        'Motion needs at least 2 frames and 1 frame per second, not '
        f'{self.num_frames} and {self.fps}.'
      )


@dataclasses.dataclass(frozen=True)
class _Clip:
  split: str
  class_name: str
  number: int

  @property
  def path(self):
    name = f'{self.class_name}_{self.number:05d}.mp4'
    return pathlib.Path(self.split, self.class_name, name)


def make(
  root: str | os.PathLike,
  *,
  seed: int = 0,
  train: int = 2400,
  val: int = 240,
  test: int = 480,
  size: int = 64,
  num_frames: int = 24,
  fps: int = 12,
  difficulty: Difficulty | None = None,
  workers: int | None = None,
  progress: bool = True,
) -> pathlib.Path:
  """Makes the data set in `root`, unless it is there already.

  The folder appears when it is complete: an interrupted run leaves none.

  Args:
    root: the folder. One that was made before with the same settings is left
      as it is; if files are missing from it, it is made again.
    seed: decides every clip, together with the other settings.
    train: number of training clips, spread evenly over the classes.
    val: number of validation clips.
    test: number of test clips.
    size: side of the square frames in pixels.
    num_frames: of each clip.
    fps: frames per second.
    difficulty: what the scenes are like.
    workers: processes to share the work; by default up to 8, as there are
      cores and as it pays. 0 does all in this process. As always with
      processes that are spawned, a script needs `if __name__ == '__main__':`.
    progress: whether to show a progress bar.

  Returns:
    `root`.

  Raises:
    FileExistsError: `root` holds something else, or a set with other settings.
  """
  root = pathlib.Path(root).resolve()
  settings = Settings(
    seed=seed,
    train=train,
    val=val,
    test=test,
    size=size,
    num_frames=num_frames,
    fps=fps,
    difficulty=difficulty or Difficulty(),
  )
  if _is_made(root, settings):
    return root
  root.parent.mkdir(parents=True, exist_ok=True)
  _sweep(root)
  unfinished = tempfile.mkdtemp(prefix=_prefix(root), dir=root.parent)
  unfinished = pathlib.Path(unfinished)
  try:
    _write_all(unfinished, settings, workers, progress)
    (unfinished / MARKER).write_text(_marker(settings))
    unfinished.chmod(0o755)  # temporary folders are born private
    _move(unfinished, root, settings)
  finally:
    shutil.rmtree(unfinished, ignore_errors=True)
  return root


def _is_made(root, settings):
  """Whether `root` is the finished set; raises if it is something else."""
  if not root.exists() or (root.is_dir() and not any(root.iterdir())):
    return False
  marker = root / MARKER
  if not marker.is_file():
    raise FileExistsError(
      f'{root} holds something that is not the motion_clips data set. '
      'Name an empty or a new folder.'
    )
  made, wanted = json.loads(marker.read_text()), json.loads(_marker(settings))
  different = [key for key in wanted if made.get(key) != wanted[key]]
  if different:
    raise FileExistsError(
      f'{root} holds motion_clips made otherwise: '
      + ', '.join(f'{k} {made.get(k)}, not {wanted[k]}' for k in different)
      + '. Name another folder, or delete this one.'
    )
  return all((root / clip.path).is_file() for clip in _clips(settings))


def _marker(settings):
  """What the marker file of a finished set says."""
  content = {'data_set': 'motion_clips', 'version': VERSION}
  content |= dataclasses.asdict(settings)
  return json.dumps(content, indent=2) + '\n'


def _clips(settings) -> Iterable[_Clip]:
  """All clips of a set; class after class, as equally many as possible."""
  for split in SPLITS:
    count = getattr(settings, split)
    for i, class_name in enumerate(CLASSES):
      for number in range(len(range(i, count, len(CLASSES)))):
        yield _Clip(split, class_name, number)


def _prefix(root):
  return f'.{root.name}.unfinished-'


def _sweep(root, after_hours=1.0):
  """Removes what runs that were killed have left behind."""
  for folder in root.parent.glob(_prefix(root) + '*'):
    if time.time() - folder.stat().st_mtime > after_hours * 3600:
      shutil.rmtree(folder, ignore_errors=True)


def _move(unfinished, root, settings):
  """Puts the finished set in place, unless another process was first."""
  try:
    unfinished.replace(root)  # works where there is nothing, or nothing inside
  except OSError:
    if not _is_made(root, settings):
      shutil.rmtree(root)  # a set of ours from which files were deleted
      unfinished.replace(root)


def _write_all(root, settings, workers, progress):
  clips = list(_clips(settings))
  for folder in {clip.path.parent for clip in clips}:
    (root / folder).mkdir(parents=True)
  if workers is None:  # a process takes about as long to start as 100 clips
    workers = min(os.cpu_count() or 1, 8, len(clips) // 200)
  bar = tqdm.tqdm(
    total=len(clips), desc='motion_clips', unit='clip', disable=not progress
  )
  with bar:
    for done in _share(root, settings, clips, workers):
      bar.update(done)


def _share(root, settings, clips, workers):
  """Writes clips in this process or in several, yields how many were done."""
  if workers < 2:
    for clip in clips:
      yield _write_some(root, settings, [clip])
    return
  parts = [clips[i : i + 20] for i in range(0, len(clips), 20)]
  # Spawned, not forked: the caller may have threads (JAX has).
  spawn = multiprocessing.get_context('spawn')
  with concurrent.futures.ProcessPoolExecutor(
    workers, spawn, initializer=end_with_parent
  ) as pool:
    futures = [pool.submit(_write_some, root, settings, p) for p in parts]
    try:
      for future in concurrent.futures.as_completed(futures):
        yield future.result()
    finally:
      pool.shutdown(cancel_futures=True)


def _write_some(root, settings, clips):
  for clip in clips:
    # Each clip has a generator of its own, whoever makes it and in what order.
    key = (SPLITS.index(clip.split), CLASSES.index(clip.class_name))
    rng = np.random.default_rng([settings.seed, *key, clip.number])
    scene = draw_scene(
      clip.class_name, rng, settings.num_frames, settings.difficulty
    )
    write_video(root / clip.path, render(scene, settings.size), settings.fps)
  return len(clips)


def main(argv: list[str] | None = None) -> None:
  """Makes the data set from the command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--out', required=True, help='the folder to make')
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--train', type=int, default=2400, help='clips')
  parser.add_argument('--val', type=int, default=240, help='clips')
  parser.add_argument('--test', type=int, default=480, help='clips')
  parser.add_argument('--size', type=int, default=64, help='pixels')
  parser.add_argument('--num_frames', type=int, default=24)
  parser.add_argument('--fps', type=int, default=12)
  options = vars(parser.parse_args(argv))
  print(make(options.pop('out'), **options))


if __name__ == '__main__':
  main()
