# SPDX-License-Identifier: Apache-2.0
"""Says in a paragraph what the results of a run mean, from them alone."""

from collections.abc import Sequence
import statistics
from typing import Any

import numpy as np

from flatten_jax.evaluation import calibration, certainty
from flatten_jax.evaluation.metrics import interval, percent
from flatten_jax.text import sanitize

_LETTERS = 40  # Of a name.
_NAMED = 3  # Classes that a sentence names.
_LEAST = 2  # Mistakes that make a confusion.
_MANY = 30  # Videos of which a mean probability is worth a sentence.
_FAR = 5  # Points between mean probability and score that are worth it.


def paragraph(scores: dict[str, Any], confusion: np.ndarray) -> str:
  """Returns what a person would say of a result, in a few sentences.

  Args:
    scores: of `metrics.compute_metrics` and `report.details`.
    confusion: videos by label (row) and answer (column), [K K].
  """
  names = [entry['name'] for entry in scores['class_scores']]
  sentences = [score(scores), unscored(scores)]
  if scores['scored']:
    if certainty.is_better_than_chance(scores):
      sentences += [
        best_and_worst(scores['class_scores'], uncertainty(scores)),
        confusions(confusion, names),
      ]
    sentences += [certainty_of_class(scores), untested(scores), sure(scores)]
  return ' '.join(sentence for sentence in sentences if sentence)


def of_several_labels(scores: dict[str, Any]) -> str:
  """Returns the same of a network that gives a video several labels."""
  if not scores['scored']:
    return unscored(scores) or score(scores)
  videos = _count(scores['scored'], 'video')
  text = (
    f'On {videos} with {scores["labels_per_video"]:.2g} of '
    f'{_count(scores["classes"], "class")} each, the mean average precision is '
    f'{percent(scores["map"], 0)} % (95 % interval '
    f'{interval(scores)}); a random order of the videos has '
    f'{_plain(scores["chance"])}. Of the labels, the network finds '
    f'{percent(scores["macro_recall"], 0)} %, and of those that it gives '
    f'{percent(scores["macro_precision"], 0)} % are right (means over classes).'
  )
  parts = [
    f'{title}: {_listed([entry["name"] for entry in scores[key][:_NAMED]])}.'
    for title, key in (('Best', 'best_classes'), ('Worst', 'worst_classes'))
    if scores[key]
  ]
  return ' '.join(filter(None, [text, *parts, untested(scores)]))


def score(scores: dict[str, Any]) -> str:
  """Returns the sentence of the top-1, its interval and chance."""
  videos = _count(scores['scored'], 'video')
  if not scores['scored']:
    return 'No test video could be scored, so nothing is known of the network.'
  right = round(scores['top1'] * scores['scored'] / 100)
  times = {0: 'never right', 1: 'right once'}.get(right, f'right {right} times')
  low, high = (percent(end, 0) for end in certainty.interval_of(scores))
  text = (
    f'On {videos} of {_count(scores["classes"], "class")} the network was '
    f'{times} ({percent(scores["top1"], 0)} %; 95 % interval {low} to {high}; '
    f'chance {_plain(scores["chance"])}).'
  )
  if certainty.is_better_than_chance(scores):
    return text
  return (
    f'{text} That is not better than chance, so what it does with single '
    'classes says nothing.'
  )


def unscored(scores: dict[str, Any]) -> str:
  """Returns the sentence about videos that do not count; '' without any."""
  count = scores['videos'] - scores['scored']
  if not count or not scores['videos']:
    return ''
  verb = 'does not count: it' if count == 1 else 'do not count: they'
  return (
    f'{_count(count, "video")} {verb} could not be read, or '
    f'{"has" if count == 1 else "have"} no label.'
  )


def best_and_worst(classes: Sequence[dict[str, Any]], points: float) -> str:
  """Returns the sentence about the classes of the highest and lowest F1.

  Args:
    classes: of `class_scores.of_classes`.
    points: of F1 that are no difference.
  """
  tested = [entry for entry in classes if entry['videos']]
  if len(tested) < 2:
    return ''
  ordered = sorted(tested, key=lambda c: (-c['f1'], -c['videos'], c['name']))
  most, least = ordered[0]['f1'], ordered[-1]['f1']
  best = [c['name'] for c in ordered if c['f1'] == most]
  worst = [c['name'] for c in ordered if c['f1'] == least]
  if most == least:
    return 'It made no mistake.' if most == 100 else ''
  least_text = f'{percent(least, 0)} %'
  if most == 100:
    return (
      f'No mistake concerns {_listed(best)}; the weakest of the classes: '
      f'{_listed(worst)} (F1 {least_text}).'
    )
  if most - least < points:
    return (
      f'No class stands out: their F1 is {percent(least, 0)} to '
      f'{percent(most, 0)} %.'
    )
  return (
    f'It did best on {_listed(best)} (F1 {percent(most, 0)} %) and worst on '
    f'{_listed(worst)} ({least_text}).'
  )


def confusions(counts: np.ndarray, names: Sequence[str]) -> str:
  """Returns the sentence about the classes that are confused most.

  Args:
    counts: videos by label (row) and answer (column), [K K].
    names: of the K classes.
  """
  wrong = counts * ~np.eye(len(counts), dtype=bool)
  if not wrong.any():
    return ''
  both = np.triu(wrong + wrong.T)
  order = np.argsort(-both, axis=None, kind='stable')[:2]
  pairs = [
    (int(a), int(b))
    for a, b in zip(*np.unravel_index(order, both.shape), strict=True)
    if both[a, b] >= _LEAST
  ]
  if not pairs:
    return 'No two classes were confused more than once.'
  text = '; '.join(_pair(counts, names, a, b) for a, b in pairs)
  return f'Confused most: {text}.'


def _pair(counts: np.ndarray, names: Sequence[str], a: int, b: int) -> str:
  """Returns 'a and b with each other (5 of 12)', 'a taken for b (3 of 6)'.

  It is with each other if the rarer direction is a third of the other or more.
  """
  there, back, of = counts[a, b], counts[b, a], counts.sum(1)
  first, second = _quoted(names[a]), _quoted(names[b])
  if 3 * min(there, back) >= max(there, back):
    share = f'{there + back} of {of[a] + of[b]}'
    return f'{first} and {second} with each other ({share})'
  if back > there:
    first, second, a, there = second, first, b, back
  return f'{first} taken for {second} ({there} of {of[a]})'


def certainty_of_class(scores: dict[str, Any]) -> str:
  """Returns the sentence about how little a class's own figure says."""
  points = uncertainty(scores)
  points = 5 * round(points / 5) if points >= 10 else round(points)
  if not points:
    return ''
  counts = [c['videos'] for c in scores['class_scores'] if c['videos']]
  least, most = min(counts), max(counts)
  videos = f'{least} to {most} test videos'
  if least == most:
    videos = _count(least, 'test video')
  return (
    f"With {videos} a class, a class's own figure is uncertain by about "
    f'\u00b1{points} points.'
  )


def uncertainty(scores: dict[str, Any]) -> float:
  """Returns by how many points a class's own figure is uncertain.

  Half of the 95 % interval of a class with the mean accuracy of all, and with
  the median number of videos.
  """
  counts = [c['videos'] for c in scores['class_scores'] if c['videos']]
  count = statistics.median_low(counts)
  low, high = certainty.interval(scores['mean_class'] * count / 100, count)
  return (high - low) / 2


def untested(scores: dict[str, Any]) -> str:
  """Returns the sentence about classes without videos; '' without any."""
  lacking = [c['name'] for c in scores['class_scores'] if not c['videos']]
  if not lacking:
    return ''
  one = len(lacking) == 1
  return (
    f'{_listed(lacking)} {"has" if one else "have"} no scored video: nothing '
    f'is known of {"it" if one else "them"}.'
  )


def sure(scores: dict[str, Any]) -> str:
  """Returns the sentence about probabilities that are far from the score."""
  mean = calibration.confidence(scores['calibration'])
  if mean is None or scores['scored'] < _MANY:
    return ''
  points = mean - scores['top1']
  if abs(points) < _FAR:
    return ''
  more, word = ('higher', 'too sure') if points > 0 else ('lower', 'too unsure')
  return (
    f'It is {word}: the probabilities of its answers have a mean of '
    f'{percent(mean, 0)} %, {abs(points):.0f} points {more} than its score.'
  )


def _listed(names: Sequence[str]) -> str:
  """Returns 'a', 'a and b', 'a, b and c', or 'a, b, c and 7 others'."""
  shown = [_quoted(name) for name in names]
  if len(shown) > _NAMED + 1:
    shown = [*shown[:_NAMED], f'{len(shown) - _NAMED} others']
  return ' and '.join(filter(None, [', '.join(shown[:-1]), shown[-1]]))


def _quoted(name: str) -> str:
  """Returns a name as it can stand in a sentence: short, and one word."""
  name = short(sanitize(name))
  return f'\u201c{name}\u201d' if ' ' in name else name


def short(name: str) -> str:
  """Returns a name without what follows its first `_LETTERS` letters."""
  if len(name) <= _LETTERS:
    return name
  return name[: _LETTERS - 1] + '\N{HORIZONTAL ELLIPSIS}'


def _plain(value: float) -> str:
  """Returns a percentage without decimals, if it is not less than one."""
  return percent(value, 0) if value >= 1 else f'{value:.2g}'


def _count(number: int, word: str) -> str:
  """Returns '1 video', '2 videos', '2 classes'."""
  if number == 1:
    return f'1 {word}'
  return f'{number} {word}{"es" if word.endswith("s") else "s"}'
