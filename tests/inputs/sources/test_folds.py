# SPDX-License-Identifier: Apache-2.0
"""Published splits of a folder, and the folds of a data set."""

import pathlib

import pytest

from flatten_jax.inputs.sources import dataset, published_splits

# 0 unused, 1 train, 2 test; names as odd as some of HMDB51's.
NAMES = ['a#1 (x).avi', 'b;c.avi', 'd e.avi', 'f&g!.avi']
CODES = {1: '1 1 2 0', 2: '2 1 1 0', 3: '0 2 1 1'}


@pytest.fixture
def hmdb(tmp_path):
  """Makes two classes of four files with their splits; one file is missing."""
  for label in ('pick', 'wave'):
    folder = tmp_path / 'videos' / label
    folder.mkdir(parents=True)
    for name in NAMES:
      (folder / name).write_bytes(b'x')
    for number, codes in CODES.items():
      lines = zip(NAMES, codes.split(), strict=True)
      text = ''.join(f'{name} {code} \n' for name, code in lines)
      file = tmp_path / 'splits' / f'{label}_test_split{number}.txt'
      file.parent.mkdir(exist_ok=True)
      file.write_text(text)
  (tmp_path / 'videos' / 'wave' / NAMES[2]).unlink()
  return tmp_path


def open_fold(hmdb, settings, fold):
  return dataset.open_splits(
    settings
    | {
      'root': str(hmdb / 'videos'),
      'split_dir': str(hmdb / 'splits'),
      'fold': fold,
    }
  )


def test_a_published_split_is_used_unchanged(hmdb, settings):
  splits = open_fold(hmdb, settings, 0)
  train = {record.id for record in splits['train'].records}
  test = {record.id for record in splits['test'].records}
  assert train == {f'{c}/{n}' for c in ('pick', 'wave') for n in NAMES[:2]}
  # The missing file counts as missing in evaluation.
  assert test == {f'{c}/{NAMES[2]}' for c in ('pick', 'wave')}
  (gone,) = [
    r for r in splits['test'].records if not pathlib.Path(r.path).exists()
  ]
  assert gone.path == str(hmdb / 'videos' / 'wave' / NAMES[2])
  assert splits['test'].class_names[gone.label] == 'wave'


def test_in_training_a_missing_video_is_left_out(hmdb, settings, caplog):
  splits = open_fold(hmdb, settings, 1)
  assert len(splits['train']) == 3 and len(splits['test']) == 2
  assert '1 videos of split 2 are missing' in caplog.text


def test_converted_copies_are_in_the_published_splits(hmdb, settings, caplog):
  expected = open_fold(hmdb, settings, 0)['train']
  folder = hmdb / 'videos' / 'wave'
  (folder / NAMES[0]).rename(folder / NAMES[0].replace('.avi', '.mp4'))
  (folder / NAMES[1].replace('.avi', '.mkv')).touch()  # Beside the original.
  (folder / NAMES[2].replace('.avi', '.webm')).touch()
  splits = open_fold(hmdb, settings, 0)
  assert 'wave/a#1 (x).mp4' in {r.id for r in splits['train'].records}
  assert 'wave/b;c.avi' in {r.id for r in splits['train'].records}
  assert 'wave/d e.webm' in {r.id for r in splits['test'].records}
  assert len(splits['train']) == len(expected)
  assert caplog.text.count('videos of split 1 are missing') == 1  # Before.


def test_invalid_published_splits_are_refused(hmdb, settings):
  with pytest.raises(ValueError, match='3 published splits'):
    open_fold(hmdb, settings, 3)
  with pytest.raises(ValueError, match='3 published splits'):
    open_fold(hmdb, settings, -1)
  (hmdb / 'splits' / 'wave_test_split1.txt').write_text('a.avi train\n')
  with pytest.raises(ValueError, match=r"line 1.*got 'a\.avi train'"):
    open_fold(hmdb, settings, 0)
  with pytest.raises(ValueError, match='_test_split1'):
    published_splits.count(str(hmdb / 'videos'))
  with pytest.raises(FileNotFoundError, match=r'data\.split_dir'):
    published_splits.count(str(hmdb / 'absent'))


def test_the_folds_of_each_kind_of_data(hmdb, settings, tmp_path):
  root = str(hmdb / 'videos')
  settings |= {'root': root, 'folds': 4}
  assert dataset.fold_numbers(settings) == [0, 1, 2, 3]
  published = settings | {'split_dir': str(hmdb / 'splits')}
  assert dataset.fold_numbers(published) == [0, 1, 2]
  rows = [f'pick/{NAMES[0]},pick,7', f'wave/{NAMES[0]},wave,2']
  listed = tmp_path / 'videos' / 'clips.csv'
  listed.write_text('\n'.join(['path,label,fold', *rows]) + '\n')
  assert dataset.fold_numbers(settings | {'root': str(listed)}) == [2, 7]
  listed.write_text('\n'.join(['path,label', *(r[:-2] for r in rows)]) + '\n')
  assert dataset.fold_numbers(settings | {'root': str(listed)}) == [0, 1, 2, 3]
  with pytest.raises(ValueError, match='already'):
    dataset.fold_numbers(settings | {'train': str(listed)})


@pytest.fixture
def listed(hmdb, settings):
  """Returns a function from (label, fold) of videos to settings of a list."""

  def write(rows, header='path,label,fold'):
    lines = [header]
    for number, (label, *cells) in enumerate(rows):
      name = f'{label}/{number}.mp4'
      (hmdb / 'videos' / name).write_bytes(b'x')
      lines.append(','.join([name, label, *map(str, cells)]))
    file = hmdb / 'videos' / 'clips.csv'
    file.write_text('\n'.join(lines) + '\n')
    return settings | {'root': str(file), 'folds': 4}

  return write


ROWS = [('pick', 0), ('wave', 0), ('pick', 1), ('wave', 1)]


@pytest.mark.parametrize('outside', [-1, -7, '', '-1.0'])
def test_a_fold_that_is_negative_or_empty_is_for_training_only(
  listed, caplog, outside
):
  caplog.set_level('INFO', 'flatten_jax')
  data = listed([*ROWS, ('pick', outside), ('wave', outside)])
  assert dataset.fold_numbers(data) == [0, 1]
  tested = []
  for fold in (0, 1):
    splits = dataset.open_splits(data | {'fold': fold})
    assert len(splits['train']) == 4
    tested += [record.id for record in splits['test'].records]
  assert sorted(tested) == [f'{ROWS[i][0]}/{i}.mp4' for i in (0, 2, 1, 3)]
  assert '2 of 6 videos have no fold, or a negative one' in caplog.text


def test_without_data_fold_the_first_fold_of_the_list_is_the_test(
  listed, caplog
):
  caplog.set_level('INFO', 'flatten_jax')
  rows = [(label, fold + 2) for label, fold in ROWS]
  data = listed([*rows, ('pick', -1)])
  splits = dataset.open_splits(data)
  assert splits == dataset.open_splits(data | {'fold': 2})
  assert [len(splits[s]) for s in ('train', 'test')] == [3, 2]
  assert (
    'test: fold 2 (2 of 5 videos) held out; column fold. --mode=cross_validate '
    'tests each of the folds 2, 3, --config.data.fold=K another'
  ) in caplog.text


def test_folds_that_are_not_used_are_named(listed, caplog):
  data = listed([*ROWS, ('pick', -1)])
  dataset.open_splits(data | {'group': 'none'})
  assert 'The folds 0, 1 of the list are not used: data.fold=-1' in caplog.text
  assert 'drawn from each class' in caplog.text
  caplog.clear()
  dataset.open_splits(listed([(label, 3) for label, _ in ROWS]))
  assert 'All videos are in fold 3, which divides nothing' in caplog.text
  caplog.clear()
  rows = [(label, fold, 'test' if fold else 'train') for label, fold in ROWS]
  data = listed(rows, 'path,label,fold,split')
  dataset.open_splits(data)
  assert 'those of the column split' in caplog.text


@pytest.mark.parametrize(
  ('rows', 'message'),
  [
    ([('pick', 2), ('wave', 2)], 'All videos are in fold 2'),
    ([*ROWS, ('pick', 'a')], "line 6: expected a whole number.*fold, not 'a'"),
    ([*ROWS, ('pick', 0.5)], "expected a whole number.*fold, not '0.5'"),
  ],
)
def test_folds_that_cannot_be_used_are_refused(listed, rows, message):
  data = listed(rows)
  with pytest.raises(ValueError, match=message):
    dataset.open_splits(data | {'fold': 2})


def test_a_column_of_groups_that_is_absent_is_refused(listed, caplog):
  rows = [(label, i % 3) for i, (label, _) in enumerate(5 * ROWS)]
  data = listed(rows, 'path,label,who')
  with pytest.raises(ValueError, match=r'data\.group=bogus must be a column'):
    dataset.open_splits(data | {'group': 'bogus'})
  assert 'has no column bogus for groups; it has who' in caplog.text
  splits = dataset.open_splits(data | {'group': 'Who'})
  tested = {int(record.id[5:-4]) % 3 for record in splits['test'].records}
  assert len(tested) == 1
  with pytest.raises(ValueError, match='must be a column of the list'):
    dataset.open_splits(
      data | {'root': data['root'].removesuffix('clips.csv'), 'group': 'who'}
    )


def test_a_list_of_negative_folds_has_none(listed, caplog):
  data = listed([(label, -1) for label, _ in 2 * ROWS])
  assert dataset.fold_numbers(data) == [0, 1, 2, 3]
  splits = dataset.open_splits(data | {'fold': 0})
  assert len(splits['test']) == 2
