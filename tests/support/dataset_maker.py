# SPDX-License-Identifier: Apache-2.0
"""Miniatures of published data sets, in their published layouts."""

import json
import pathlib
import shutil

from data import folder, hmdb51, kinetics400, something_something_v2
from data.annotations import Sources
from data.prepare import prepare

DATA_SETS = {
  module.DATA_SET.name: module.DATA_SET
  for module in (kinetics400, something_something_v2, hmdb51, folder)
}
CVDF = 'label,youtube_id,time_start,time_end,split,is_cc\n'


def write(path, text):
  """Writes a text file, and makes its folders."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(text.encode())
  return path


def make(
  data_set, root, out, annotations='annotations', untrimmed=False, **options
):
  """Prepares a miniature and returns the report."""
  given = [root / annotations] if annotations else []
  sources = Sources(given, [root / 'videos'], untrimmed=untrimmed)
  options = {'shard_mib': 0.01, 'progress': False} | options
  prepare(DATA_SETS[data_set], sources, out, **options)
  return json.loads((out / 'report.json').read_text())


def counts(report, split):
  entry = report['splits'][split]
  return [entry[s] for s in ('annotated', 'found', 'missing', 'unreadable')]


class Placer:
  """Copies one of three videos, in turn, to each path."""

  def __init__(self, originals):
    self._originals = originals
    self._count = 0

  def __call__(self, root, *names):
    for name in names:
      path = pathlib.Path(root) / name
      path.parent.mkdir(parents=True, exist_ok=True)
      shutil.copy(self._originals[path.suffix][self._count % 3], path)
      self._count += 1


def kinetics(root, place):
  """Two classes; one video missing, one replaced, one broken, one empty."""
  ids = [f'{i:02d}-abcdefgh' for i in range(10)]
  rows = [
    f'"{label}",{key},10,20,train,0'
    for key, label in zip(ids[:6], ['air drumming', 'yoga'] * 3, strict=True)
  ]
  write(root / 'annotations' / 'train.csv', CVDF + '\n'.join(rows) + '\n')
  rows = [f'yoga,{key},10,20,val,0' for key in ids[6:9]]
  write(root / 'annotations' / 'val.csv', CVDF + '\n'.join(rows) + '\n')
  names = [f'{key}_000010_000020.mp4' for key in ids]
  videos = root / 'videos'
  place(videos, f'train/air_drumming/{names[0]}', f'train/yoga/{names[1]}')
  place(videos, f'air drumming/{names[2]}', f'flat/{names[3]}')
  write(videos / 'train' / names[4], 'not a video, and replaced')
  folder = videos / 'replacement' / 'replacement_for_corrupted_k400'
  place(folder, f'{ids[4]}_000009_000019.mp4')
  write(videos / 'val' / names[6], '<html>not a video, and not replaced</html>')
  write(videos / 'val' / names[7], '')
  place(videos, f'val/{names[8]}')


def something(root, place, prefix='something-something-v2-'):
  """Three classes; one test video missing."""
  templates = [
    'Holding [a thing]',
    'Moving [a thing] left',
    'Tipping [a thing]',
  ]
  numbers = {
    template.replace('[', '').replace(']', ''): str(2 - i)
    for i, template in enumerate(templates)
  }
  items = [{'id': str(i), 'template': templates[i % 3]} for i in range(9)]
  content = {'labels': numbers, 'train': items[:6], 'validation': items[6:]}
  content['test'] = [{'id': '90'}, {'id': '91'}]
  for name, value in content.items():
    write(root / 'annotations' / f'{prefix}{name}.json', json.dumps(value))
  videos = root / 'videos' / '20bn-something-something-v2'
  place(videos, *(f'{i}.webm' for i in range(9)), '90.webm')


def hmdb(root, place):
  """Two classes of four videos in three splits; one video broken."""
  for label in ('clap', 'shake_hands'):
    names = [f'#{i}_{label}_(x)_[y]&;!.avi' for i in range(4)]
    place(root / 'videos' / label, *names)
    for split, codes in enumerate(['1120', '2110', '0112'], start=1):
      text = ''.join(
        f'{name} {code} \n' for name, code in zip(names, codes, strict=True)
      )
      file = f'{label}_test_split{split}.txt'
      write(root / 'annotations' / file, text)
  broken = next((root / 'videos' / 'clap').glob('#1*'))
  broken.write_bytes(broken.read_bytes()[:60])
