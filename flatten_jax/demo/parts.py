# SPDX-License-Identifier: Apache-2.0
"""Parts of the page as HTML: the timeline, and the clip in other orders."""

import html
import math

import numpy as np

from flatten_jax.demo import answers, pictures
from flatten_jax.demo.answers import Answer
from flatten_jax.explanation import clip_explanation
from flatten_jax.prediction import results
from flatten_jax.prediction.chosen_classes import TopClasses
from flatten_jax.prediction.results import Prediction
from flatten_jax.prediction.timeline_files import shown_classes
from flatten_jax.prediction.timelines import Timeline, clock
from flatten_jax.runtime import preprocess
from flatten_jax.runtime.loaded_model import LoadedModel
from flatten_jax.text import sanitize

_MAX_ROWS = 6  # Classes of a timeline.
HEAT_CAPTIONS = {
  'Grad-CAM': 'Evidence for the answer: Grad-CAM',
  'contrast': 'Evidence for or against it: contrast',
  clip_explanation.ATTENTION: 'Attention of the class token',
}


def heading(model: LoadedModel) -> str:
  """Returns the title of the page, and what the model is."""
  frames, side = model.views.frames, model.views.resolution
  return (
    f'<h1 class="demo-title">flatten_jax</h1><p class="demo-note">'
    f'{_text(model.source)} &middot; {len(model.class_names)} classes &middot; '
    f'{frames} frame{"s" * (frames > 1)} of {side} px, '
    f'{_text(preprocess.describe(model.config))}</p>'
  )


def note(text: str) -> str:
  """Returns a sentence below other parts."""
  return f'<p class="demo-note">{_text(text)}</p>'


def hint(model: LoadedModel) -> str:
  """Returns what the page shows once there is a video."""
  names = ', '.join(map(_text, model.class_names[:12]))
  more = ', ...' if len(model.class_names) > 12 else ''
  return (
    '<div class="demo-hint">Give a video, or record one: you will see<ul>'
    '<li>what happens in it, as a whole and second by second,</li>'
    '<li>the clip as the network sees it, and where its evidence is,</li>'
    '<li>what it answers if the frames are reversed or shuffled.</li></ul>'
    f'It knows {names}{more}.</div>'
  )


def what_it_sees(model: LoadedModel) -> str:
  """Returns the heading of the clip as the model sees it."""
  if model.takes_clips:
    return 'What the network sees: the frames of a clip'
  return 'What the network sees: the clip as one image'


def timeline(answer: Answer, has_player: bool = True) -> str:
  """Returns the classes by second: a row for each class, darker is surer.

  The script of the page moves its line with the player, and shows the words of
  the second that is played.
  """
  found = answer.prediction.timeline
  if found is None:
    return note(f'No timeline: {answer.no_timeline}.')
  duration = float(found.seconds[-1, 1])
  classes = shown_classes(found)[:_MAX_ROWS]
  rows = ''.join(
    f'<div class="name" title="{_text(found.class_names[number])}">'
    f'{_text(found.class_names[number])}</div>'
    f'<div class="seconds">{_cells(found, number)}</div>'
    for number in classes.tolist()
  )
  said = ''.join(
    f'<span data-start="{start:.3f}" data-end="{end:.3f}">{words}</span>'
    for (start, end), words in zip(
      found.seconds.tolist(), _said(found), strict=True
    )
  )
  return (
    f'<div class="timeline" data-duration="{duration:.3f}">'
    f'<div class="said">{said}</div>'
    f'<div class="rows">{rows}<div></div><div class="axis">'
    f'<span>{clock(0)}</span><span>{clock(duration)}</span></div>'
    '<div class="track"><i></i></div></div></div>'
    f'<p class="demo-note">{_text(found.window.capitalize())}.'
    f'{" Tap a second to go there." if has_player else ""}</p>'
  )


def _cells(found: Timeline, number: int) -> str:
  """Returns the cells of one class, as wide as their seconds."""
  cells = []
  for (start, end), share, best in zip(
    found.seconds.tolist(),
    found.probabilities[:, number].tolist(),
    found.answer_mask[:, number].tolist(),
    strict=True,
  ):
    words = f'{share:.0%}'
    if math.isnan(share):
      share, words = 0.0, results.NOT_FINITE
    tip = f'{clock(start)} - {clock(end)}: {words}'
    cells.append(
      f'<b class="{"best" if best else ""}" title="{tip}" '
      f'style="flex-grow:{end - start:.3f};--p:{share:.3f}"></b>'
    )
  return ''.join(cells)


def _said(found: Timeline) -> list[str]:
  """Returns the answer of each window in words."""
  said = []
  for row, start in enumerate(found.seconds[:, 0].tolist()):
    labels = found.labels(row)[:3]
    words = ', '.join(f'{_text(name)} {p:.0%}' for name, p in labels)
    if np.isnan(found.probabilities[row]).any():
      words = f'no answer: {results.NOT_FINITE}'
    said.append(f'<time>{clock(start)}</time> {words or "no class"}')
  return said


def answer_in_words(prediction: Prediction) -> str:
  """Returns the answer to the whole video."""
  words = ', '.join(
    f'{_text(name)} <small>{p:.0%}</small>' for name, p in prediction.labels
  )
  words = words or 'no class <small>reaches its threshold</small>'
  found = prediction.timeline
  shown = f': {_text(found.whole)}' if found else ''
  return (
    f'<p class="demo-answer">{words}</p>'
    f'<p class="demo-note">The whole video{shown}</p>'
  )


def orders(answer: Answer) -> str:
  """Returns the clip in several orders as animations, with their answers."""
  first = answer.orders[0].top[0][0]
  cards = ''.join(
    f'<div class="demo-card"><img alt="{order.name}" '
    f'src="{pictures.loop(answer.clip[order.frames])}">'
    f'<div><h4>{order.name}</h4>{_bars(order.top, first)}</div></div>'
    for order in answer.orders
  )
  words = _text(answers.what_order_does(answer.orders))
  return (
    f'<p class="demo-verdict">{words}</p><div class="demo-cards">{cards}</div>'
  )


def _bars(top: TopClasses, first: str) -> str:
  """Returns classes with bars; that of the clip as filmed is marked."""
  return ''.join(
    f'<div class="demo-bar {"same" if name == first else ""}">'
    f'<u style="width:{p:.1%}"></u><span>{_text(name)}</span>'
    f'<span>{p:.0%}</span></div>'
    for name, p in top
  )


def problem(text: str) -> str:
  """Returns the message for a video that cannot be shown; '' for none."""
  return (
    f'<p class="demo-problem" role="alert">{_text(text)}</p>' if text else ''
  )


def _text(text: str) -> str:
  return html.escape(sanitize(text))
