# SPDX-License-Identifier: Apache-2.0
"""Makes the embedded data set: H.264 files in class folders, in a minute.

`make` writes {train,val,test}/<class>/<id>.mp4, like any folder of videos:
twelve classes that differ in motion only; see `motion`. Videos of several
labels are in one folder, with a list for each split; see `several_motions`.
"""

import csv
import dataclasses
import glob
import itertools
import json
import os
import pathlib
import shutil
import tempfile
import time

import numpy as np

from flatten_jax.inputs import workers
from flatten_jax.inputs.synthetic import (
  many_motions,
  motion,
  several_motions,
  textured_scene,
)
from flatten_jax.inputs.synthetic.scene import draw_scene, render
from flatten_jax.inputs.video.encode import write_video
from flatten_jax.progress import Progress

MARKER = 'motion_clips.json'
VERSION = 1  # of the files' content: raise it if the same seed gives others
SPLITS = ('train', 'val', 'test')
SEVERAL = 'several'
# The folders of each set; videos of several labels are in one, with lists.
CLASSES = {
  'twelve': motion.CLASSES,
  'many': many_motions.CLASSES,
  SEVERAL: ('',),
}


@dataclasses.dataclass(frozen=True)
class Settings:
  """Everything that decides the content of the folder; kept in its marker."""

  seed: int = 0
  motions: str = 'twelve'  # Or 'many' or 'several'.
  train: int = 2400  # clips, spread evenly over the classes
  val: int = 240
  test: int = 480
  size: int = 64  # side of the square frames in pixels
  num_frames: int = 24
  fps: int = 12

  def __post_init__(self):
    is_valid = (
      self.motions in CLASSES
      and min(self.seed, self.train, self.val, self.test) >= 0
      and (self.size >= 16 and self.size % 2 == 0)  # for H.264
      and (self.num_frames >= 2 and self.fps >= 1)
    )
    if not is_valid:
      raise ValueError(
        "Expected 'twelve', 'many' or 'several' motions, seed and numbers of "
        'clips of 0 or more, an even size of 16 up, at least 2 frames and 1 '
        f'frame per second, not {self}.'
      )

  def clips(self) -> list[tuple[str, str, int]]:
    """Returns (split, class, number) of all clips."""
    classes = CLASSES[self.motions]
    return [
      (split, classes[i % len(classes)], i // len(classes))
      for split in SPLITS
      for i in range(getattr(self, split))
    ]

  def marker(self) -> dict:
    """Returns the content of the marker file."""
    made = {'data_set': 'motion_clips', 'version': VERSION}
    made |= dataclasses.asdict(self)
    if self.motions == 'twelve':  # As in sets made before there were others.
      del made['motions']
    return made


def make(
  root: str | os.PathLike,
  *,
  processes: int | None = None,
  progress: bool = True,
  **settings: int,
) -> pathlib.Path:
  """Makes the data set in `root`, unless a complete one exists; returns `root`.

  The folder appears when it is complete: an interrupted run leaves none. Other
  contents are refused, as are other `settings`. By default, the work is shared
  by up to 8 processes, if the script has an `if __name__ == '__main__':`.
  """
  root = pathlib.Path(root).resolve()
  settings = Settings(**settings)
  if _is_made(root, settings):
    return root
  root.parent.mkdir(parents=True, exist_ok=True)
  prefix = f'.{root.name}.unfinished-'
  killed = root.parent.glob(f'{glob.escape(prefix)}*')
  for left in killed:
    if time.time() - left.stat().st_mtime > 3600:
      shutil.rmtree(left, ignore_errors=True)
  unfinished = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=root.parent))
  try:
    _write_all(unfinished, settings, processes, progress)
    marker = json.dumps(settings.marker(), indent=2)
    (unfinished / MARKER).write_text(marker + '\n')
    unfinished.chmod(0o755)  # Temporary folders are private at first.
    try:
      unfinished.replace(root)  # Fails if another process was first.
    except OSError:
      if not _is_made(root, settings):
        shutil.rmtree(root)  # A set of ours from which files were deleted.
        unfinished.replace(root)
  finally:
    shutil.rmtree(unfinished, ignore_errors=True)
  return root


def _is_made(root: pathlib.Path, settings: Settings) -> bool:
  """Checks whether `root` is the finished set; refuses other contents."""
  if not root.exists() or (root.is_dir() and not any(root.iterdir())):
    return False
  if not (root / MARKER).is_file():
    raise FileExistsError(
      f'{root} holds something that is not the motion_clips data set. '
      'Name an empty or a new folder; --config.data.motion_clips=0 reads '
      'videos of your own.'
    )
  made, wanted = json.loads((root / MARKER).read_text()), settings.marker()
  keys = wanted.keys() | {'motions'}
  different = sorted(k for k in keys if made.get(k) != wanted.get(k))
  if different:
    raise FileExistsError(
      f'{root} holds motion_clips with other settings: '
      + ', '.join(f'{k} {made.get(k)}, not {wanted.get(k)}' for k in different)
      + '. Name another folder, or delete this one.'
    )
  return all(_path(root, *clip).is_file() for clip in settings.clips())


def _path(root, split, class_name, number) -> pathlib.Path:
  if not class_name:
    return root / 'videos' / f'{split}_{number:05d}.mp4'
  return root / split / class_name / f'{class_name}_{number:05d}.mp4'


def _write_all(root, settings, processes, progress):
  """Writes all clips, in this process or in several."""
  clips = settings.clips()
  for folder in {_path(root, *clip).parent for clip in clips}:
    folder.mkdir(parents=True)
  if settings.motions == SEVERAL:
    _write_lists(root, settings)
  if processes is None:  # Starting one takes about as long as 100 clips.
    processes = min(os.cpu_count() or 1, 8, len(clips) // 200)
    if workers.script_problem():
      processes = 1
  jobs = [(root, settings, clips[i : i + 20]) for i in range(0, len(clips), 20)]
  if processes < 2:
    done = itertools.starmap(_write, jobs)
  else:
    done = workers.share(_write, jobs, processes)
  total, disable = len(clips), not progress
  with Progress('Rendering', 'clips', total=total, disable=disable) as bar:
    for count in done:
      bar.update(count)


def _write_lists(root, settings):
  """Writes {train,val,test}.csv: paths, and labels like 'left;up'."""
  rows = {split: [('path', 'label')] for split in SPLITS}
  for clip in settings.clips():
    labels = several_motions.draw(_generator(settings, *clip))
    path = _path(root, *clip).relative_to(root)
    rows[clip[0]].append((path, ';'.join(labels)))
  for split, lines in rows.items():
    with (root / f'{split}.csv').open('w', newline='') as file:
      csv.writer(file).writerows(lines)


def _generator(settings, split, name, number) -> np.random.Generator:
  """Each clip has its own generator, whichever process makes it."""
  place = CLASSES[settings.motions].index(name)
  key = settings.seed, SPLITS.index(split), place, number
  return np.random.default_rng(key)


def _write(root, settings, clips):
  for split, name, number in clips:
    rng = _generator(settings, split, name, number)
    size = settings.num_frames, settings.size
    if settings.motions == SEVERAL:
      frames = several_motions.render(several_motions.draw(rng), rng, *size)
    elif settings.motions == 'many':
      frames = textured_scene.render(name, rng, *size)
    else:
      frames = render(draw_scene(name, rng, size[0]), size[1])
    write_video(_path(root, split, name, number), frames, settings.fps)
  return len(clips)
