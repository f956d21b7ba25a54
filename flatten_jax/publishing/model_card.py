# SPDX-License-Identifier: Apache-2.0
"""The model card, README.md: what a run knows about its model, in words.

It names no path: the names of folders may be those of people.
"""

import os
import pathlib
import re
from typing import Any

import jinja2
import yaml

import flatten_jax
from flatten_jax import hub, models, paths
from flatten_jax.checkpoints.model_folder import open_to_read
from flatten_jax.evaluation import metrics
from flatten_jax.inputs.flow import fields
from flatten_jax.inputs.sampling import rules
from flatten_jax.inputs.sources.published_sets import PUBLISHED_SETS
from flatten_jax.publishing import card_results
from flatten_jax.runtime import model_factory, portable, preprocess
from flatten_jax.runtime.loaded_model import LoadedModel
from flatten_jax.text import sanitize
from flatten_jax.training import run_summary

_CLASSES = 60  # That are listed.
_MOTIONS = {
  'twelve': 'twelve rendered motions',
  'many': '119 rendered motions',
  'several': 'several rendered motions in a video',
}
TAGS = ('video-classification', 'action-recognition', 'jax', 'flax')


def text(
  model: LoadedModel,
  workdir: str | os.PathLike,
  *,
  address: str = '',
  license: str = '',
  dataset: str = '',
) -> str:
  """Returns the card of the model of a run.

  Args:
    model: loaded from `workdir`.
    workdir: with run.json and results.json, if they were written.
    address: on the Hub; '' for a folder.
    license: of the weights; '' if none was chosen.
    dataset: name of the training data; '' if the run has to know.
  """
  folder, config = paths.expand(workdir), model.config
  run = run_summary.read(folder)
  data = dataset or _data_of(config, run, len(model.class_names))
  results = card_results.of_model(folder, model)
  name = hub.parse(address)[0].partition('/')[2] if address else ''
  name = name or f'{config.model.name}, {data or "own videos"}'
  front = _front_matter(name, results, data, license, config.model.pretrained)
  body = _template().render(
    name=name,
    model=model,
    config=config,
    cost=model.experiment.cost,
    image=model_factory.image_shape(config, model.views.resolution),
    channels=fields.num_channels(config.data),
    arranged=preprocess.describe(config),
    sampling=rules.of_data(config.data).frames,
    views=model.views,
    results=results,
    machine=run.get('machine'),
    data=data,
    videos=_videos(run),
    trained=_trained(workdir, model),
    start=_start(folder, config.model),
    source=address or 'FOLDER',
    repository=address.removeprefix(hub.SCHEME) or 'FOLDER',
    is_folder=not address,
    license=license,
    classes=[_plain(name) for name in model.class_names[:_CLASSES]],
    more=max(0, len(model.class_names) - _CLASSES),
    version=flatten_jax.__version__,
  )
  return f'---\n{front}---\n\n{body}'


def _template() -> jinja2.Template:
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader(__package__, ''),
    autoescape=False,  # The card is Markdown.
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
  )
  environment.filters |= {'percent': metrics.percent, 'plain': _plain}
  return environment.get_template('model_card.md')


def _plain(name: str) -> str:
  """Returns a name as text: no markup, on one line."""
  text = re.sub(r'([\\`*\[\]<>|#])', r'\\\1', sanitize(name))
  return re.sub(r'(?<!\w)_|_(?!\w)', r'\\_', text)


def _front_matter(
  name: str,
  results: card_results.Results,
  data: str,
  license: str,
  pretrained: str,
) -> str:
  """Returns the metadata that the Hub reads, as YAML."""
  fields: dict[str, Any] = {'license': license} if license else {}
  fields |= {
    'library_name': portable.LIBRARY,
    'pipeline_tag': 'video-classification',
    'tags': list(TAGS),
  }
  if hub.is_address(pretrained):
    fields['base_model'] = hub.parse(pretrained)[0]
  if entries := card_results.index(results, data):
    fields['metrics'] = sorted(
      {m['type'] for e in entries for m in e['metrics']}
    )
    fields['model-index'] = [{'name': name, 'results': entries}]
  return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)


def _data_of(config: Any, run: dict[str, Any], num_classes: int) -> str:
  """Returns the name of the training data; '' if it is the user's own."""
  if config.data.motion_clips:
    return _MOTIONS[config.data.motions]
  file = pathlib.PurePath(run.get('config_file', '').partition(':')[0]).name
  for known in PUBLISHED_SETS:
    is_its = file.startswith(f'{known.prefix}_')
    if is_its and num_classes == known.num_classes:
      return known.title
  return ''


def _videos(run: dict[str, Any]) -> dict[str, int]:
  """Returns the number of videos by split; {} if it is unknown."""
  return {k: sum(v) for k, v in run.get('class_videos', {}).items()}


def _trained(workdir: str | os.PathLike, model: LoadedModel) -> dict[str, Any]:
  """Returns 'epoch' and 'validation' of a checkpoint, if it is 'of_best'."""
  with open_to_read(workdir) as checkpoints:
    info, best = checkpoints.info(model.step), checkpoints.best_step()
    scores = checkpoints.scores(model.step) or {}
  of_best = model.config.test_checkpoint == 'best' and best == model.step
  several = model.config.data.multi_label
  key, title = (
    ('map', 'mean average precision') if several else ('top1', 'top-1')
  )
  # A model that was pushed before does not tell.
  epoch = None if portable.is_model(paths.expand(workdir)) else info.epoch
  return {
    'epoch': epoch,
    'of_best': of_best,
    'refit': info.refit_from is not None,
    'validation': scores.get(key),
    'metric': title,
  }


def _start(folder: pathlib.Path, model: Any) -> str:
  """Returns what the weights were before training; '' if it is not known."""
  name, pretrained = model.name, model.pretrained
  if portable.is_model(folder):
    return ''
  if not pretrained:
    return 'random weights'
  if hub.is_address(pretrained):
    repository, revision = hub.parse(pretrained)
    link = f'[{repository}](https://huggingface.co/{repository})'
    return link + (f', revision {revision}' if revision else '')
  if name in models.MODELS and pretrained in models.MODELS[name].weights:
    return f'published weights, `{name}/{pretrained}`'
  return 'weights of an earlier run, or of a file'
