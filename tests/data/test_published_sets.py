# SPDX-License-Identifier: Apache-2.0
"""Published sets in their published forms: lists, labels, splits, counts."""

import json
import shutil

import numpy as np
import pytest

from data.annotations import Sources
from data.data_sets import DATA_SETS
from data.prepare import main
import flatten_jax as fj
from flatten_jax.inputs.augment import flips
from flatten_jax.inputs.sources import dataset, prepared
from flatten_jax.inputs.sources.published_sets import PUBLISHED_SETS
from flatten_jax.inputs.video.read import probe
from flatten_jax.runtime.configuration import default_config
from tests.support.dataset_maker import (
  ACTIONS,
  CVDF,
  charades,
  counts,
  diving,
  jester,
  make,
  ucf,
  write,
)
from tests.support.small_run import small_config

SETTINGS = default_config.data().to_dict()


def opened(root, **changes):
  return dataset.open_splits(SETTINGS | {'root': str(root)} | changes)


def labelled(videos):
  """{id: names of its classes} of a split."""
  return {
    r.id: [videos.class_names[i] for i in r.classes] for r in videos.records
  }


def report_of(out):
  return ' '.join((out / 'report.txt').read_text().split())


def test_the_published_numbers_agree_with_each_other():
  for published in PUBLISHED_SETS:
    assert DATA_SETS[published.name].published is published
    for train, test in published.folds[: published.name == 'ucf101' and 3]:
      assert train + test == published.videos['videos']
  assert sum(DATA_SETS['jester'].published.videos.values()) == 148_092
  assert sum(DATA_SETS['charades'].published.videos.values()) == 9_848
  assert sum(DATA_SETS['kinetics700'].published.videos.values()) == 650_317


# --- UCF101 -------------------------------------------------------------------


def test_one_copy_of_ucf101_serves_its_three_splits(tmp_path, place):
  ucf(tmp_path, place)
  out = tmp_path / 'out'
  report = make('ucf101', tmp_path, out)
  assert counts(report, 'videos') == [8, 8, 0, 0]
  assert report['splits']['videos']['folds'] == [[6, 2], [6, 2], [4, 4]]
  text = report_of(out)
  assert '2 classes (officially 101)' in text
  assert 'videos: 8 videos are annotated, 13312 fewer than published' in text
  assert 'Split 3 trains on 4 videos and tests on 4; published are 9624' in text
  for fold, tested in enumerate((['01'], ['02'], ['08', '09'])):
    splits = opened(out, fold=fold)
    assert labelled(splits['test']) == {
      f'{c}/v_{c}_g{group}_c01.avi': [c]
      for c in ('ApplyEyeMakeup', 'Archery')
      for group in tested
    }
    assert len(splits['train']) == 8 - 2 * len(tested)
  assert dataset.fold_numbers(SETTINGS | {'root': str(out)}) == [0, 1, 2]


def test_the_splits_of_ucf101_are_read_without_preparing(tmp_path, place):
  ucf(tmp_path, place)
  lists = tmp_path / 'annotations' / 'ucfTrainTestlist'
  raw = {'root': str(tmp_path / 'videos' / 'UCF-101'), 'split_dir': str(lists)}
  assert dataset.fold_numbers(SETTINGS | raw) == [0, 1, 2]
  make('ucf101', tmp_path, tmp_path / 'out')
  for fold in range(3):
    files = opened(fold=fold, **raw)
    stored = opened(tmp_path / 'out', fold=fold)
    for split in ('train', 'test'):
      assert labelled(files[split]) == labelled(stored[split])
  write(lists / 'testlist02.txt', 'v_Archery_g01_c01.avi\n')
  with pytest.raises(ValueError, match=r'testlist02\.txt, line 1: .*class/vid'):
    opened(fold=0, **raw)


def test_a_missing_split_of_ucf101_is_told(tmp_path, place):
  ucf(tmp_path, place)
  for name in ('trainlist03.txt', 'testlist03.txt'):
    (tmp_path / 'annotations' / 'ucfTrainTestlist' / name).unlink()
  make('ucf101', tmp_path, tmp_path / 'out')
  assert '2 of the 3 published splits are' in report_of(tmp_path / 'out')
  with pytest.raises(ValueError, match='2 published splits'):
    opened(tmp_path / 'out', fold=2)


# --- Kinetics -----------------------------------------------------------------


@pytest.mark.parametrize(
  ('name', 'official'),
  [('kinetics600', 600), ('kinetics700', 700), ('kinetics700_2020', 700)],
)
def test_later_editions_of_kinetics_have_their_own_counts(
  tmp_path, place, name, official
):
  """Kinetics-600 comes as .txt, and labels of the test have an apostrophe."""
  rows = [f'"tying shoe laces",{i}-abcdefghi,3,13,train,0\n' for i in range(4)]
  rows += ["massaging person's head,9-abcdefghi,90,100,train,0\n"]
  write(tmp_path / 'annotations' / 'train.txt', CVDF + ''.join(rows))
  rows = ["massaging person's head,v-abcdefghi,100,110,val,0\n"]
  write(tmp_path / 'annotations' / 'val.txt', CVDF + ''.join(rows))
  place(tmp_path / 'videos', '9-abcdefghi_000090_000100.mp4')
  place(tmp_path / 'videos', 'val/v-abcdefghi_000100_000110.mp4')
  report = make(name, tmp_path, tmp_path / 'out')
  assert counts(report, 'train') == [5, 1, 4, 0]
  assert report['official_classes'] == official
  text = report_of(tmp_path / 'out')
  assert (
    'train: 4 of 5 videos are missing or unreadable: '
    '0-abcdefghi_000003_000013, 1-abcdefghi_000003_000013, '
    '2-abcdefghi_000003_000013, ...'
  ) in text
  test = DATA_SETS[name].published.videos.get('test')
  told = f'test: not annotated; published are {test} videos.'
  assert (told in text) == (test is not None)
  train = opened(tmp_path / 'out')['train']
  assert train.class_names == ("massaging person's head", 'tying shoe laces')


# --- Jester -------------------------------------------------------------------


def test_frames_of_jester_become_videos_at_their_rate(tmp_path):
  jester(tmp_path)
  report = make('jester', tmp_path, tmp_path / 'out')
  assert counts(report, 'train') == [6, 6, 0, 0]
  assert counts(report, 'test') == [2, 1, 1, 0]
  splits = opened(tmp_path / 'out')
  assert splits['train'].class_names[0] == 'Swiping Right'  # As published.
  assert labelled(splits['val']) == {
    '106': ['Swiping Right'],
    '107': ['Swiping Left'],
    '108': ['No gesture'],
  }
  assert labelled(splits['test']) == {'109': [], '110': []}
  stored = probe(splits['train'][0].path)
  assert (stored.num_frames, stored.fps) == (8, 12)
  assert (stored.height, stored.width) == (20, 36)


def test_a_flip_exchanges_the_sides_of_jester(tmp_path):
  jester(tmp_path)
  make('jester', tmp_path, tmp_path / 'out')
  train = opened(tmp_path / 'out')['train']
  pairs = (('Swiping Left', 'Swiping Right'),)
  flip = flips.of_data(SETTINGS | {'flip_pairs': pairs}, train.class_names)
  assert flip.exchanged == {0: 1, 1: 0}
  assert 'flip' in DATA_SETS['jester'].published.flags


# --- Diving48 -----------------------------------------------------------------


def test_version_2_of_diving48_replaces_the_first(tmp_path, place, caplog):
  caplog.set_level('INFO')
  diving(tmp_path, place)
  make('diving48', tmp_path, tmp_path / 'out')
  assert 'Diving48_train.json is left out: there are lists of V2' in caplog.text
  test = opened(tmp_path / 'out')['test']
  assert labelled(test) == {
    '_8Vy3dlHg2w_00004': ['Back 15som 05Twis FREE'],
    '_8Vy3dlHg2w_00005': ['Inward 35som NoTwis'],
  }


def test_version_1_of_diving48_is_read_by_itself(tmp_path, place):
  diving(tmp_path, place, versions=('',))
  report = make('diving48', tmp_path, tmp_path / 'out')
  assert counts(report, 'train') == [4, 4, 0, 0]
  test = opened(tmp_path / 'out')['test']
  assert labelled(test)['_8Vy3dlHg2w_00004'] == ['Inward 35som NoTwis']


def test_dives_that_are_parts_of_files_are_refused(tmp_path, place):
  diving(tmp_path, place)
  item = {'vid_name': '_8Vy3dlHg2w_00000', 'label': 0, 'start_frame': 30}
  file = tmp_path / 'annotations' / 'Diving48_V2_train.json'
  write(file, json.dumps([item | {'end_frame': 90}]))
  with pytest.raises(ValueError, match='times in frames'):
    make('diving48', tmp_path, tmp_path / 'out')


# --- Charades -----------------------------------------------------------------


def test_charades_has_all_actions_of_each_video(tmp_path, place):
  charades(tmp_path, place)
  out = tmp_path / 'out'
  report = make('charades', tmp_path, out)
  assert counts(report, 'train') == [6, 6, 0, 0]
  assert [
    c['found'] for c in report['splits']['train']['classes'].values()
  ] == [
    *(2, 3, 3, 1)  # c002, c000, c001, and a video of none.
  ]
  splits = opened(out, multi_label=True)
  assert splits['train'].class_names == ACTIONS
  train = {r.id: r.labels for r in splits['train'].records}
  assert train == {
    **{'0YSKX': (0, 2), '1YSKX': (1,), '2YSKX': (), '3YSKX': (0, 1)},
    **{'4YSKX': (0, 2), '5YSKX': (1,)},
  }
  files = dataset.open_splits(
    SETTINGS
    | {s: str(next(tmp_path.rglob(f'*_{s}.csv'))) for s in ('train', 'test')}
    | {'class_names': str(next(tmp_path.rglob('*v1_classes.txt')))}
    | {'prefix': str(tmp_path / 'videos/Charades_v1_480'), 'multi_label': True}
  )
  for split in ('train', 'test'):
    np.testing.assert_array_equal(
      files[split].targets(), splits[split].targets()
    )
  with pytest.raises(ValueError, match=r'several labels.*data\.multi_label=T'):
    opened(out)


def test_a_prepared_charades_trains_to_a_mean_average_precision(
  tmp_path, place
):
  charades(tmp_path, place, train=16)
  make('charades', tmp_path, tmp_path / 'out')
  config = small_config(tmp_path / 'out')
  config.data.multi_label = True
  config.epochs, config.warmup_epochs = 1.0, 0.5  # Two steps.
  fj.train_and_evaluate(config, tmp_path / 'run')
  results = json.loads((tmp_path / 'run' / 'results.json').read_text())
  assert results['test']['scored'] == 4
  assert 0 < results['test']['map'] <= 100
  assert {row['name'] for row in results['test']['class_scores']} == {*ACTIONS}


# --- Several labels in lists of one's own -------------------------------------

LISTS = {
  'clips.csv': 'path,label\na.mp4,run;jump\nb.mp4,jump\nc.mp4,\nd.mp4,nan\n',
  'clips.json': json.dumps(
    [
      {'path': 'a.mp4', 'label': ['run', 'jump']},
      {'path': 'b.mp4', 'label': ['jump']},
      {'path': 'c.mp4', 'label': []},
      {'path': 'd.mp4', 'label': 'nan'},
    ]
  ),
  'rows.csv': 'path,label\na.mp4,run\na.mp4,jump\nb.mp4,jump\nc.mp4,\n'
  'd.mp4,nan\n',
}


@pytest.mark.parametrize('name', LISTS)
def test_lists_of_several_labels_are_prepared(tmp_path, place, name):
  place(tmp_path / 'videos', *(f'{i}.mp4' for i in 'abcd'))
  write(tmp_path / 'annotations' / name, LISTS[name])
  out = tmp_path / 'out'
  arguments = [
    *('folder', f'--annotations={tmp_path / "annotations" / name}'),
    *(f'--videos={tmp_path / "videos"}', f'--out={out}', '--processes=1'),
  ]
  main([*arguments, '--multi_label'])
  names, several = prepared.classes_of(str(out))
  assert (names, several) == (['jump', 'run'], True)

  def rows():
    splits, _ = prepared.open_rows(str(out), SETTINGS | {'multi_label': True})
    return {r.id[0]: r.labels for part in splits.values() for r in part}

  found = rows()
  assert {key: found[key] and {*found[key]} for key in found} == {
    **{'a': {'0', '1'}, 'b': {'0'}, 'c': (), 'd': None}
  }
  (out / 'index-videos.csv').unlink()  # Then the records tell the same.
  assert {key: {*(labels or ())} for key, labels in rows().items()} == {
    **{'a': {'0', '1'}, 'b': {'0'}, 'c': set(), 'd': set()}
  }


def test_a_list_that_looks_like_several_labels_names_the_flag(
  tmp_path, place, caplog
):
  place(tmp_path / 'videos', 'a.mp4', 'b.mp4')
  text = 'path,label\na.mp4,run;jump\nb.mp4,jump\n'
  write(tmp_path / 'annotations' / 'clips.csv', text)
  make('folder', tmp_path, tmp_path / 'out')
  assert 'of a video, set --multi_label' in caplog.text


def test_two_lists_may_not_label_a_video_differently(tmp_path, place):
  place(tmp_path / 'videos', 'a.mp4', 'b.mp4')
  for name, label in (('one.csv', 'run;jump'), ('two.csv', 'run')):
    text = f'path,label\na.mp4,{label}\nb.mp4,jump\n'
    write(tmp_path / 'annotations' / name, text)
  sources = Sources(
    [tmp_path / 'annotations'], [tmp_path / 'videos'], multi_label=True
  )
  from data.prepare import prepare

  with pytest.raises(ValueError, match="labels 'run;jump' and 'run'"):
    prepare(DATA_SETS['folder'], sources, tmp_path / 'out', progress=False)


# --- Wrong input --------------------------------------------------------------


@pytest.mark.parametrize(
  ('name', 'remove', 'complaint'),
  [
    ('jester', 'jester-v1-labels.csv', r'Expected jester-v1-labels\.csv among'),
    ('jester', 'jester-v1-[tv]*.csv', r'No train, validation or test list'),
    ('diving48', 'Diving48_vocab.json', r'Expected Diving48_vocab\.json'),
    ('charades', 'Charades_v1_classes.txt', 'Expected Charades_v1_classes'),
    ('ucf101', '*list0?.txt', r'Expected .*trainlist01\.txt'),
  ],
)
def test_missing_annotations_are_named(
  tmp_path, place, name, remove, complaint
):
  if name == 'jester':
    jester(tmp_path)
  else:
    makers = {'diving48': diving, 'charades': charades, 'ucf101': ucf}
    makers[name](tmp_path, place)
  for file in (tmp_path / 'annotations').rglob(remove):
    file.unlink()
  with pytest.raises(ValueError, match=complaint):
    make(name, tmp_path, tmp_path / 'out')


def test_a_gesture_that_is_not_published_is_refused(tmp_path):
  jester(tmp_path)
  file = tmp_path / 'annotations' / 'jester-v1-train.csv'
  write(file, '100;Waving\n101;No gesture\n')
  with pytest.raises(ValueError, match=r'jester-v1-train\.csv has .* Waving'):
    make('jester', tmp_path, tmp_path / 'out')


def test_missing_folders_of_frames_are_named(tmp_path):
  jester(tmp_path)
  shutil.rmtree(tmp_path / 'videos' / '20bn-jester-v1' / '101')
  report = make('jester', tmp_path, tmp_path / 'out')
  assert counts(report, 'train') == [6, 5, 1, 0]
  text = report_of(tmp_path / 'out')
  assert 'train: 1 of 6 videos are missing or unreadable: 101 ' in text


@pytest.mark.parametrize(
  ('arguments', 'complaint'),
  [
    (['charades', '--annotations=x'], '--multi_label is of folder'),
    (['folder'], '--multi_label is about lists'),
  ],
)
def test_several_labels_are_of_lists(tmp_path, capsys, arguments, complaint):
  write(tmp_path / 'videos' / 'a' / '1.mp4', '')
  given = [f'--videos={tmp_path / "videos"}', f'--out={tmp_path / "out"}']
  with pytest.raises(SystemExit, match='1'):
    main([*arguments, *given, '--multi_label'])
  assert complaint in capsys.readouterr().err
