# SPDX-License-Identifier: Apache-2.0
"""The page of the demo, in Gradio."""

from collections.abc import Sequence
import functools
import pathlib
import tempfile
from typing import Any

import gradio as gr
from gradio import processing_utils, utils

from flatten_jax.demo import answers, parts, pictures
from flatten_jax.demo.answers import Answer
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.interface import LargestSide
from flatten_jax.inputs.video.rewrite import rewrite
from flatten_jax.runtime.loaded_model import LoadedModel
from flatten_jax.text import sanitize

_FOLDER = pathlib.Path(__file__).parent
_TOP = 5  # Classes with bars.
_PLAYER_SIDE = LargestSide(360)
# Seconds: how often old files are looked for, and how old they may become.
_DELETE_FILES = 600, 3600


def build(model: LoadedModel, examples: Sequence[pathlib.Path]) -> gr.Blocks:
  """Builds the page of a model; nothing is shared between its visitors.

  Args:
    model: from `answers.open_model`.
    examples: videos that a click shows.
  """
  title = f'flatten_jax: {sanitize(model.config.model.name or "demo")}'
  with gr.Blocks(
    title=title, analytics_enabled=False, delete_cache=_DELETE_FILES
  ) as page:
    gr.HTML(parts.heading(model))
    problem = gr.HTML(visible=False)
    with gr.Row():
      with gr.Column(scale=2, min_width=300):
        clip = gr.Video(
          label='A video, or the camera',
          sources=['upload', 'webcam'],
          include_audio=True,  # Or FFmpeg would have to remove it.
          elem_id='clip',
        )
        if examples:
          gr.Examples([[str(path)] for path in examples], [clip])
        with gr.Column(visible=False) as left:
          answer = gr.HTML()
          classes = gr.Label(show_label=False, show_heading=False)
      with gr.Column(scale=3, min_width=300):
        hint = gr.HTML(parts.hint(model))
        with gr.Column(visible=False) as right:
          player = gr.Video(
            show_label=False,
            autoplay=True,
            loop=True,
            height=330,
            buttons=[],
            elem_id='player',
          )
          timeline = gr.HTML()
    with gr.Column(visible=False) as below:
      gr.HTML(f'<p class="demo-part">{parts.what_it_sees(model)}</p>')
      with gr.Row():
        flattened = _picture('The input')
        heats = [
          _picture(parts.HEAT_CAPTIONS[kind])
          for kind in answers.heat_kinds(model)
        ]
      gr.HTML(parts.note(answers.why_no_heat(model)))
      gr.HTML('<p class="demo-part">The same clip in another order</p>')
      orders = gr.HTML()
    shown = [answer, classes, player, timeline, orders, flattened, *heats]
    places = [left, right, below]

    clip.change(
      functools.partial(_update, model, len(places), len(shown)),
      [clip],
      [problem, hint, *places, *shown],
      api_name='answer',
      concurrency_limit=1,
      trigger_mode='always_last',
    )
  return page


def _update(
  model: LoadedModel, places: int, shown: int, video: str | None
) -> list[Any]:
  """Answers for a video.

  Args:
    model: of the page.
    places: number of columns that only an answer makes visible.
    shown: number of components that show it.
    video: a file; None if it was removed.

  Returns:
    The problem, the hint, the columns and the components.
  """
  found, text = None, ''
  try:
    found = answers.answer(model, video) if video else None
  except VideoError as error:
    text = f'This video cannot be read: {error.cause}.'
  return [
    gr.HTML(parts.problem(text), visible=bool(text)),
    gr.HTML(visible=found is None),
    *[gr.Column(visible=found is not None)] * places,
    *(_values(found, video or '') if found else [None] * shown),
  ]


def _picture(caption: str) -> gr.Image:
  """Places a picture below its caption."""
  with gr.Column(min_width=300, elem_classes='demo-picture'):
    gr.HTML(f'<p class="demo-caption">{caption}</p>')
    return gr.Image(show_label=False, container=False, buttons=['fullscreen'])


def launch_options() -> dict[str, Any]:
  """Returns the looks and the script of the page, for `Blocks.launch`."""
  fonts = ['system-ui', 'sans-serif']  # Others would be loaded.
  theme = gr.themes.Default(font=fonts, font_mono=fonts)
  return {
    'theme': theme,
    'css': (_FOLDER / 'style.css').read_text(),
    'js': (_FOLDER / 'follow_player.js').read_text(),
    'footer_links': [],
  }


def _values(found: Answer, video: str) -> list[Any]:
  """Returns the values of the components that show an answer."""
  prediction, player = found.prediction, _playable(video)
  return [
    parts.answer_in_words(prediction),
    {sanitize(name): p for name, p in prediction.top(_TOP)},
    player,
    parts.timeline(found, has_player=player is not None),
    parts.orders(found),
    pictures.flattened(found, found.clip),
    *(pictures.flattened(found, heat) for heat in found.heats.values()),
  ]


def _playable(video: str) -> str | None:
  """Returns a small version that every browser plays, if it can be made."""
  with tempfile.TemporaryDirectory() as folder:
    file = pathlib.Path(folder, 'player.mp4')
    try:
      rewrite(video, file, size=_PLAYER_SIDE, longest=answers.LONGEST_TIMELINE)
    except VideoError:
      return None
    return processing_utils.save_file_to_cache(file, utils.get_upload_folder())
