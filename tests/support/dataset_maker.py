# SPDX-License-Identifier: Apache-2.0
"""Miniatures of published data sets, in their published layouts."""

import json
import pathlib
import shutil

from data.annotations import Sources
from data.data_sets import DATA_SETS
from data.prepare import prepare
from tests.support.video_maker import moving_square, write_frames

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


UCF_CLASSES = ('ApplyEyeMakeup', 'Archery')


def ucf(root, place):
  """Two classes of four groups of one video; the splits test one or two."""
  names = [
    f'{label}/v_{label}_g{group:02d}_c01.avi'
    for label in UCF_CLASSES
    for group in (1, 2, 8, 9)
  ]
  place(root / 'videos' / 'UCF-101', *names)
  lists = root / 'annotations' / 'ucfTrainTestlist'
  text = ''.join(f'{i} {name}\r\n' for i, name in enumerate(UCF_CLASSES, 1))
  write(lists / 'classInd.txt', text)
  for split, tested in enumerate(('01', '02', '0809'), start=1):
    train, test = [], []
    for name in names:
      label, _, file = name.partition('/')
      if file.split('_')[2][1:] in (tested[:2], tested[2:]):
        test.append(name)
      else:
        train.append(f'{name} {UCF_CLASSES.index(label) + 1}')
    for kind, lines in (('train', train), ('test', test)):
      write(lists / f'{kind}list0{split}.txt', '\r\n'.join([*lines, '']))


GESTURES = ('Swiping Right', 'Swiping Left', 'No gesture')


def jester(root):
  """Three gestures as frames; the folder of one test video is missing."""
  ids = [str(i) for i in range(100, 111)]
  folder = root / 'videos' / '20bn-jester-v1'
  for i, key in enumerate(ids[:10]):
    write_frames(folder / key, moving_square(8, 20, 36, seed=i), '{:05d}.jpg')
  lists = root / 'annotations'
  write(lists / 'jester-v1-labels.csv', '\n'.join([*GESTURES, '']))
  rows = [f'{key};{GESTURES[i % 3]}\n' for i, key in enumerate(ids[:9])]
  write(lists / 'jester-v1-train.csv', ''.join(rows[:6]))
  write(lists / 'jester-v1-validation.csv', ''.join(rows[6:]))
  write(lists / 'jester-v1-test.csv', ''.join(f'{key}\n' for key in ids[9:]))


DIVES = (('Back', '15som', '05Twis', 'FREE'), ('Inward', '35som', 'NoTwis'))


def diving(root, place, versions=('V2_', '')):
  """Two dives; the versions have other labels for the same videos."""
  write(root / 'annotations' / 'Diving48_vocab.json', json.dumps(DIVES))
  names = [f'_8Vy3dlHg2w_{i:05d}' for i in range(6)]
  place(root / 'videos' / 'rgb', *(f'{name}.mp4' for name in names))
  for version in versions:
    items = [
      {'vid_name': name, 'label': (i + (version == '')) % 2}
      | {'start_frame': 0, 'end_frame': 12}
      for i, name in enumerate(names)
    ]
    for split, part in (('train', items[:4]), ('test', items[4:])):
      file = f'Diving48_{version}{split}.json'
      write(root / 'annotations' / file, json.dumps(part))


CHARADES = (
  'id,subject,scene,quality,relevance,verified,script,objects,descriptions,'
  'actions,length\n'
)
ACTIONS = (
  'c000 Holding some clothes',
  'c001 Putting clothes somewhere',
  'c002 Taking some clothes from somewhere',
)
ACTED = (
  'c002 11.90 21.20;c000 0.00 12.60',
  'c001 2.00 7.00',
  '',
  'c000 0.00 5.50;c000 7.00 9.00;c001 1.00 3.00',
)


def charades(root, place, train=6, test=4):
  """Videos to train on and to test, of none, one or two actions."""
  lists = root / 'annotations' / 'Charades'
  write(lists / 'Charades_v1_classes.txt', '\n'.join([*ACTIONS, '']))
  write(lists / 'Charades_v1_objectclasses.txt', 'o000 None\no001 bag\n')
  write(lists / 'README.txt', 'Charades')
  names = [f'{i}YSKX' for i in range(train + test)]
  place(root / 'videos' / 'Charades_v1_480', *(f'{n}.mp4' for n in names))
  rows = [
    f'{name},HR4{i % 3},Bedroom,6,7,Yes,"A person, standing.",bag;door,'
    f'"A ""person"" stands.",{ACTED[i % 4]},24.83\n'
    for i, name in enumerate(names)
  ]
  for split, part in (('train', rows[:train]), ('test', rows[train:])):
    file = lists / f'Charades_v1_{split}.csv'
    write(file, CHARADES + ''.join(part))
