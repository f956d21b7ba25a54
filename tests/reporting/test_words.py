# SPDX-License-Identifier: Apache-2.0
"""What the page says of hand-made predictions."""

import numpy as np

from flatten_jax.evaluation import metrics, report
from flatten_jax.evaluation.metrics import Predictions
from flatten_jax.reporting import words


def said(pairs, names, unreadable=0, logit=20.0):
  """The paragraph of a video for each (label, answer), and unreadable ones."""
  labels = [label for label, _ in pairs] + [0] * unreadable
  logits = np.zeros((len(labels), len(names)), np.float32)
  for row, (_, answer) in enumerate(pairs):
    logits[row, answer] = logit
  ours = Predictions(
    np.array([str(i) for i in range(len(labels))]),
    np.array(labels, np.int32),
    logits,
    np.arange(len(labels)) < len(pairs),
    tuple(names),
  )
  scores = metrics.compute_metrics(ours) | report.details(ours)
  return words.paragraph(scores, ours.confusion())


def test_a_perfect_run():
  pairs = [(k, k) for k in range(3)] * 10
  assert said(pairs, 'abc') == (
    'On 30 videos of 3 classes the network was right 30 times (100 %; 95 % '
    'interval 89 to 100; chance 33). It made no mistake. With 10 test videos a '
    "class, a class's own figure is uncertain by about \u00b115 points."
  )


def test_a_run_like_the_example_of_the_docs():
  pairs = [(0, 0)] * 6 + [(1, 1)] * 6 + [(2, 2)] * 4 + [(2, 3)] * 2
  pairs += [(3, 2)] * 3 + [(3, 3)] * 3 + [(4, 4)] * 3 + [(4, 0)]
  text = said(pairs, ['left', 'right', 'start', 'stop', 'wave'])
  assert 'right 22 times (79 %; 95 % interval 60 to 90; chance 21)' in text
  assert (
    'No mistake concerns right; the weakest of the classes: stop (F1 55 %).'
  ) in text
  assert 'Confused most: start and stop with each other (5 of 12).' in text
  assert 'With 4 to 6 test videos a class' in text


def test_a_confusion_in_one_direction():
  pairs = [(0, 0)] * 20 + [(1, 1)] * 17 + [(1, 0)] * 3
  text = said(pairs, ['walk', 'run'])
  assert 'Confused most: run taken for walk (3 of 20).' in text
  assert 'No class stands out: their F1 is 92 to 93 %.' in text
  turned = said([(1 - a, 1 - b) for a, b in pairs], ['run', 'walk'])
  assert 'Confused most: run taken for walk (3 of 20).' in turned


def test_the_best_and_the_worst_class():
  pairs = [(0, 0)] * 19 + [(0, 1)] + [(1, 1)] * 8 + [(1, 2)] * 8 + [(1, 0)] * 4
  text = said(pairs + [(2, 2)] * 20, ['walk', 'run', 'sit'])
  assert 'It did best on walk (F1 88 %) and worst on run (55 %).' in text


def test_a_confusion_of_which_most_are_in_one_direction():
  pairs = [(0, 0)] * 20 + [(1, 1)] * 12 + [(1, 0)] * 8 + [(0, 1)] * 2
  text = said(pairs, ['walk', 'run'])
  assert 'Confused most: run taken for walk (8 of 20).' in text


def test_names_of_several_words_are_quoted_and_long_ones_shortened():
  pairs = [(0, 0)] * 20 + [(1, 1)] * 17 + [(1, 0)] * 3
  text = said(pairs, ['to walk', 'to run ' + 'very ' * 20])
  run = '\u201cto run very very very very very very ve\u2026\u201d'
  assert f'{run} taken for \u201cto walk\u201d (3 of 20)' in text


def test_a_level_of_chance_below_one_percent_is_told():
  names = [str(i) for i in range(400)]
  text = said([(i, i) for i in range(400)], names)
  assert 'chance 0.25)' in text


def test_single_mistakes_are_no_confusion():
  pairs = [(0, 0)] * 9 + [(1, 1)] * 9 + [(0, 1)]
  text = said(pairs, 'ab')
  assert 'No two classes were confused more than once.' in text


def test_a_run_at_the_level_of_chance():
  pairs = [(k, (k + j) % 4) for k in range(4) for j in range(4)]
  text = said(pairs, 'abcd')
  assert text.startswith(
    'On 16 videos of 4 classes the network was right 4 times (25 %; 95 % '
    'interval 10 to 49; chance 25). That is not better than chance, so what '
    'it does with single classes says nothing.'
  )
  assert 'Confused' not in text and 'best' not in text


def test_two_classes_and_few_videos():
  text = said([(0, 0), (1, 1)], ['no', 'yes'])
  assert text.startswith('On 2 videos of 2 classes the network was right 2')
  assert 'not better than chance' in text
  assert 'With 1 test video a class' in text
  assert 'right once (100 %' in said([(0, 0)], ['no', 'yes'])
  assert 'never right (0 %' in said([(0, 1)], ['no', 'yes'])


def test_a_class_without_test_videos():
  pairs = [(0, 0), (1, 1)] * 10
  text = said(pairs, ['a', 'b', 'c'])
  assert 'c has no scored video: nothing is known of it.' in text
  text = said(pairs, ['a', 'b', *'cdefgh'])
  assert 'c, d, e and 3 others have no scored video' in text


def test_videos_that_cannot_be_read():
  assert said([], 'ab', unreadable=3) == (
    'No test video could be scored, so nothing is known of the network. '
    '3 videos do not count: they could not be read, or have no label.'
  )
  text = said([(0, 0)], 'ab', unreadable=1)
  assert '1 video does not count: it could not be read, or has no label' in text
  assert said([], 'ab').startswith('No test video')


def test_answers_that_are_not_finite_are_mistakes():
  text = said([(0, 0)] * 3, 'ab', logit=np.nan)
  assert 'never right' in text and 'nan' not in text


def test_probabilities_that_are_too_high_or_too_low_are_named():
  pairs = [(0, 0), (1, 1)] * 14 + [(0, 1), (1, 0)] * 3
  text = said(pairs, 'ab', logit=5.0)
  assert 'It is too sure: ' in text
  assert 'a mean of 99 %, 17 points higher than its score' in text
  assert 'It is too unsure: ' in said(pairs, 'ab', logit=0.1)
  assert 'sure' not in said(pairs[:20], 'ab', logit=0.1)  # Too few.


def test_names_of_classes_cannot_break_a_line():
  text = said([(0, 0)] * 9 + [(1, 1)] * 9 + [(0, 1)] * 3, ['a\nb', 'c'])
  assert '\n' not in text
