# SPDX-License-Identifier: Apache-2.0
"""Checks the arguments of `fj.VideoDataset`, and finds its videos."""

from collections.abc import Mapping, Sequence
import dataclasses
import os
from typing import Any

from flatten_jax.inputs.augment import transforms
from flatten_jax.inputs.sampling import rules
from flatten_jax.inputs.sources import folders
from flatten_jax.inputs.sources.dataset import Record, Videos
from flatten_jax.inputs.video.container import VideoPath
from flatten_jax.inputs.video.frame_files.frame_folder import FramesPath
from flatten_jax.inputs.video.frame_files.frame_names import is_zip
from flatten_jax.paths import expand
from flatten_jax.runtime import context
from flatten_jax.runtime.configuration import (
  config as configs,
  config_rules,
  value_rules,
)

Path = str | os.PathLike
Root = Path | Sequence[Path]

# Keys of `config.data` that are no options of a data set, and why.
_BY_SIZE = "it is called 'size' here"
_BY_GRAIN = (
  'the order of the videos, and threads and processes that read them, are '
  'those of Grain'
)
_BY_CLIP = 'its clips are RGB, one random or middle clip of a video'
_REFUSED = {
  **dict.fromkeys(('crop', 'test_crop'), _BY_SIZE),
  **dict.fromkeys(('balanced', 'weighted', 'repeated_aug'), _BY_GRAIN),
  **dict.fromkeys(('workers', 'threads'), _BY_GRAIN),
  **dict.fromkeys(('input', 'flow_method', 'flow_frames'), _BY_CLIP),
  **dict.fromkeys(('images', 'image_share', 'image_crop'), _BY_CLIP),
  **dict.fromkeys(('views', 'num_clips', 'num_crops'), _BY_CLIP),
  **dict.fromkeys(('val_clips', 'val_crops', 'test_frames'), _BY_CLIP),
}


def resolve(
  root: Root, split: str, clips: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[Videos, dict[str, Any]]:
  """Returns the videos of a split, and `config.data` for their clips.

  Args:
    root: as for `VideoDataset`.
    split: as for `VideoDataset`.
    clips: its arguments num_frames, sampling, stride and size.
    options: its other keys of `config.data`.

  Raises:
    FileNotFoundError: there is no such folder, list or file.
    ValueError: there is no such split, or an argument is wrong.
  """
  count = value_rules.whole(1)
  for name in ('num_frames', 'stride', 'size'):
    if not count.takes(clips[name]):
      raise ValueError(f'{name} must be {count.wanted}; got {clips[name]!r}.')
  for name in options.keys() & _REFUSED.keys():
    raise ValueError(f'VideoDataset has no option {name!r}: {_REFUSED[name]}.')
  is_data_set = isinstance(root, Path)
  data = dict(options) | {
    'root': os.fspath(root) if is_data_set else '',
    'num_frames': clips['num_frames'],
    'sampling': clips['sampling'],
    'stride': clips['stride'],
    'crop': clips['size'],
    'num_clips': 1,
    'num_crops': 1,
    'input': 'rgb',
  }
  config = configs.complete({'data': data})
  config_rules.check_all(config)
  rules.of_data(config.data)  # Refuses frames that it cannot choose.
  if clips['size'] > transforms.test_short_side(config.data):
    raise ValueError(
      f'test_short_side must be 0 or at least size={clips["size"]}; got '
      f'{config.data.test_short_side}.'
    )
  videos = _split(config, split) if is_data_set else _of_files(root)
  return videos, config.data.to_dict()


def described(root: Root, split: str, others: Mapping[str, Any]) -> str:
  """Returns the arguments as they are written, without the names of files."""
  if isinstance(root, Path):
    first = [repr(os.fspath(root)), f'split={split!r}']
  else:
    first = [f'{len(root)} files']
  return ', '.join([*first, *(f'{k}={v!r}' for k, v in others.items())])


def _split(config: Any, split: str) -> Videos:
  splits = context.open_videos(config)
  if split == 'all':
    records = (
      record for videos in splits.values() for record in videos.records
    )
    first = next(iter(splits.values()))
    return dataclasses.replace(first, records=tuple(records), weights=())
  if split not in splits:
    hint = ' val_holdout=0.1 makes it of training videos.' * (split == 'val')
    raise ValueError(
      f'split must be {", ".join(splits)} or all, as '
      f'{config.data.root or "the data set"} has them; got {split!r}.{hint}'
    )
  return splits[split]


def _of_files(files: Sequence[Path]) -> Videos:
  if not len(files):
    raise ValueError('Expected video files; got an empty sequence.')
  records = tuple(Record(os.fspath(file), _path(file), -1) for file in files)
  folders.log_frames([record.path for record in records])
  return Videos(records, ())


def _path(file: Path) -> VideoPath:
  path = os.path.abspath(expand(file))
  if not os.path.exists(path):
    raise FileNotFoundError(f'There is no video {os.fspath(file)}.')
  return FramesPath(path) if os.path.isdir(path) or is_zip(path) else path
