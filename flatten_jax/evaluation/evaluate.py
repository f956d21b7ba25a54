# SPDX-License-Identifier: Apache-2.0
"""Evaluates checkpoints on all test views, and models during training."""

from collections.abc import Callable
import dataclasses
import logging
import pathlib
from typing import Any

import jax
import ml_collections
import numpy as np

from flatten_jax.checkpoints import model_folder
from flatten_jax.checkpoints.load import load_config, load_model
from flatten_jax.evaluation import (
  cautions,
  label_mapping,
  log_test,
  metrics,
  multi_label,
  protocols,
  report,
  results,
)
from flatten_jax.evaluation.failed_videos import FailedVideos
from flatten_jax.evaluation.order import report as order_report
from flatten_jax.inputs import pipeline, views
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.progress import Progress
from flatten_jax.runtime import context
from flatten_jax.runtime.devices import multihost, sharding
from flatten_jax.runtime.loaded_model import LoadedModel, ViewMeans

log = logging.getLogger('flatten_jax')

DRAWS = ('folds', 'group', 'holdout', 'val_holdout')  # What decides on splits.


def evaluate(
  config: ml_collections.ConfigDict | None,
  workdir: str | pathlib.Path,
  test_views: str = '',
  split: str = '',
) -> dict[str, Any]:
  """Evaluates a checkpoint of `workdir` on all test views; writes the results.

  A protocol other than the run's own gets an entry and files of its own, as
  'test_3x4', and replaces nothing else. `config.loggers` get the scores, at the
  step of the checkpoint, as test/top1 or evaluate/test_3x4/top1.

  Args:
    config: videos and views; None for the config of the checkpoint. The model
      and its classes are the checkpoint's in any case.
    workdir: of a training run. Gets results.json, report_test.md,
      predictions_test.npz and confusion_test.csv.
    test_views: replaces `config.data.views`, e.g. '3x10' or '224x16x3x10'.
    split: to evaluate, 'train', 'val' or 'test'; by default the run's own test.

  Returns:
    The entry of results.json: those of `metrics.compute_metrics`,
    'gflops_per_view', 'params_m', 'step', 'protocol', the entry's 'name',
    'warnings', sentences about a test that says little, those of
    `report.details`, and 'order', see `order.report.make`, of the
    run's own test if `config.order_report`. If the data has no test split, or
    none of it can be scored, the val split is evaluated on the test views, and
    called 'val'.

  Raises:
    FileNotFoundError: `workdir` contains no checkpoint.
    ValueError: the videos have classes that the model does not know.
  """
  chosen = load_config(workdir, config)  # First: it joins other processes.
  own = load_config(workdir) if config else chosen.copy_and_resolve_references()
  if test_views:
    chosen.data.views = test_views
  with context.open_run(chosen, workdir) as run:
    splits = run.open_videos()
    tested = tested_split(splits)
    scores = evaluate_splits(run, splits, own, split or tested)
    name = scores.get('name', '')
    group = 'test' if name == tested else f'evaluate/{name}'
    log_test.write_later(run.config.loggers, run.workdir, scores, group)
    return scores


def evaluate_with(
  workdir: str | pathlib.Path, changes: dict[str, Any]
) -> dict[str, Any]:
  """Evaluates a checkpoint under a changed config; writes no results.

  Args:
    workdir: of a training run.
    changes: to the config of the checkpoint, by dotted key.

  Returns:
    As `evaluate`, without the entries of `report.details`.
  """
  config = load_config(workdir)
  config.update_from_flattened_dict(changes)
  with context.open_run(config, workdir) as run:
    return evaluate_split(run, run.open_videos())[1]


def evaluate_splits(
  run: context.RunContext,
  splits: dict[str, Videos],
  own_config: ml_collections.ConfigDict | None = None,
  split: str = '',
) -> dict[str, Any]:
  """Evaluates the checkpoint of an open run, and writes the results.

  Args:
    run: its config describes the test.
    splits: of the data.
    own_config: of the training, whose test is the run's own; None if it is
      `run.config`.
    split: as for `evaluate`.
  """
  workdir = run.workdir
  split, scores, predictions = evaluate_split(run, splits, split)
  if predictions is None:
    log.info('There is neither a test nor a val split: nothing to evaluate')
    return {}
  scores |= report.details(predictions)
  step = scores['step']
  protocol = protocols.describe(run.config, split, step, predictions)
  own_config = own_config or run.config
  with model_folder.open_to_read(workdir) as checkpoints:
    refit = checkpoints.info(step).refit_from is not None
    if own_config.test_checkpoint != run.config.test_checkpoint:
      step = checkpoints.choose(own_config.test_checkpoint)
  own = protocols.describe(own_config, split, step, predictions)
  changed = protocols.differences(protocol, own)
  scores |= {'protocol': protocol, 'name': split}
  warnings = cautions.about(run.config, splits, split, scores, refit)
  scores['warnings'] = warnings
  if jax.process_index() == 0:
    scores['name'] = name = results.place(workdir, split, protocol, own)
    results.write_results(workdir, name, scores, predictions)
    log.info('%s', metrics.summary(name, scores))
    for text in warnings:
      log.warning('%s', text)
    log.info('%s', metrics.cost_line(scores))
    log.info('%s', report.console(scores))
    page = workdir / f'report_{name}.md'
    log.info('Results are in %s and %s', workdir / 'results.json', page)
    if changed:
      other = ', '.join(changed)
      log.info("The run's own results stay; these have other %s", other)
    if changed.keys() & {'data', 'fold'} or any(
      run.config.data[key] != own_config.data[key] for key in DRAWS
    ):
      cautions.warn_of_training_videos(own_config, splits[split], refit)
  learned = 'train' in splits and split != 'train'
  if run.config.order_report and not changed and learned:
    scores['order'] = order_report.make(run, splits, split, predictions)
    if jax.process_index() == 0 and scores['order']:
      results.write_results(workdir, name, scores, predictions)
      log.info('%s', report.order_section(scores))
  multihost.wait_for_all('results are written')
  return scores


def evaluate_split(
  run: context.RunContext, splits: dict[str, Videos], split: str = ''
) -> tuple[str, dict[str, Any], metrics.Predictions | None]:
  """Returns the name of the tested split, its scores and its predictions."""
  if split and split not in splits:
    raise ValueError(
      f'split must be one that the data has, {" or ".join(splits)}; got '
      f'{split!r}.'
    )
  split = split or tested_split(splits)
  if not split:
    return 'val', {}, None
  model = load_model(run.workdir, run.config)
  videos = label_mapping.match_labels(splits[split], model.class_names, split)
  failed_videos = FailedVideos(run.workdir)
  failed_videos.record_index({split: videos}, run.config.data)
  predictions = predict(model, videos, model.views, failed_videos)
  if split != 'val':  # By whose videos the thresholds were chosen.
    predictions = dataclasses.replace(predictions, thresholds=model.thresholds)
  scores = describe(model, predictions)
  scores |= {'batch_norm': model.batch_norm, 'step': model.step}
  return split, scores, predictions


def tested_split(splits: dict[str, Videos]) -> str:
  """Returns the split to test on: 'test', 'val', or '' if there is neither.

  It is 'val' if no test video is both present and labelled: Kinetics without
  its test videos; Something-Something, whose test labels are not public.
  """
  known = [split for split in ('test', 'val') if split in splits]
  if len(known) < 2:
    return known[0] if known else ''
  if splits['test'].usable():
    return 'test'
  records = splits['test'].records
  labelled = [record for record in records if record.is_labelled]
  log.info(
    'Evaluating val instead of test: %d of %d test videos are labelled, and '
    'none of these was present when the data set was prepared',
    *(len(labelled), len(records)),
  )
  return 'val'


def validate(
  model: LoadedModel,
  videos: Videos,
  failed_videos: FailedVideos,
  stops: Callable[[], bool] = lambda: False,
) -> dict[str, Any] | None:
  """Evaluates a model during training, on the views of `config.data.val_*`.

  Args:
    model: in its present state.
    videos: the val split.
    failed_videos: gets those that cannot be read.
    stops: asked after each batch whether to give up.

  Returns:
    As `metrics.compute_metrics`, and the 'loss'; of several labels also the
    best 'thresholds' of the classes on these videos, which no score here uses.
    None if it was stopped.
  """
  val_views = views.of_validation(model.config.data)
  predictions = predict(model, videos, val_views, failed_videos, stops)
  if predictions is None:
    return None
  scores = metrics.compute_metrics(predictions)
  if predictions.multi_label:
    best = multi_label.choose_thresholds(*predictions.decided())
    scores['thresholds'] = best
  return scores | {'loss': metrics.loss(predictions)}


def predict(
  model: LoadedModel,
  videos: Videos,
  test_views: views.Views,
  failed_videos: FailedVideos,
  stops: Callable[[], bool] = lambda: False,
) -> metrics.Predictions | None:
  """Computes the logits of every video of a split, summed over its views.

  Returns None as soon as `stops` does not return False after a batch.

  Batches per device have one shape, and views come in one order. So the sums
  are the same, to the bit, for any batch size of the training and any number of
  devices, processes and workers. Memory is two batches of clips and one row of
  logits per video.
  """
  config, mesh = model.config, model.experiment.mesh
  data = test_views.apply(config.data)
  batches = pipeline.eval_batches(
    videos,
    data,
    batch_size=config.eval_views * sharding.rows_of_process(mesh),
    group=config.eval_views,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
    workers=data['workers'],
    threads=data['threads'],
  )
  means = ViewMeans(config.eval_average, test_views.count, model.task)
  logits = np.zeros((len(videos), videos.num_classes), np.float32)
  scored = np.zeros(len(videos), bool)
  show = {'leave': False, 'disable': jax.process_index() > 0}
  bar = Progress('Evaluating', 'videos', total=len(videos), **show)
  with batches, bar:
    for batch, result in model.run(batches):
      if stops():
        return None
      failed_videos.record(batch, videos)
      for number in means.add(result):
        logits[number], scored[number] = means.pop(number), True
        bar.update()
  failed_videos.sync()
  return metrics.Predictions(
    ids=np.array([record.id for record in videos.records]),
    labels=videos.targets(),
    logits=logits,
    scored=scored,
    class_names=videos.class_names,
    views=str(test_views),
  )


def describe(
  model: LoadedModel, predictions: metrics.Predictions
) -> dict[str, Any]:
  """Returns accuracies and their cost: views, GFLOPs, parameters."""
  cost = model.experiment.cost
  return metrics.compute_metrics(predictions) | {
    'gflops_per_view': round(cost.gflops, 4),
    'params_m': round(cost.params / 1e6, 4),
  }
