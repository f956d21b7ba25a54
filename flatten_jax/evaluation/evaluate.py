# SPDX-License-Identifier: Apache-2.0
"""Evaluation: all test views from a workdir, or one view while training."""

import logging
import pathlib
from typing import Any

import jax
import ml_collections

from flatten_jax.evaluation import label_mapping, metrics, report, results
from flatten_jax.evaluation.failed_videos import FailedVideos
from flatten_jax.inputs import pipeline, views
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.inputs.sources.prepared import MissingVideo
from flatten_jax.runtime import multihost, sharding, trained
from flatten_jax.runtime.run import Run
from flatten_jax.runtime.trained import as_trained
from flatten_jax.training import setup

log = logging.getLogger('flatten_jax')

EVAL_VIEWS = 8  # For checkpoints of before there was config.eval_views.


def evaluate(
  config: ml_collections.ConfigDict | None,
  workdir: str | pathlib.Path,
  test_views: str = '',
) -> dict[str, Any]:
  """Scores a checkpoint of `workdir` on all test views; writes the results.

  Args:
    config: which videos, which views; None for the config that the checkpoint
      holds. The model and its classes are the checkpoint's in any case.
    workdir: of a training run. Gets results.json, report_test.md,
      predictions_test.npz and confusion_test.csv; nothing else is needed.
    test_views: in place of `config.data.views`, like '3x10' or '224x16x3x10'.

  Returns:
    What results.json says of the split: 'top1', 'top5', 'mean_class' (in
    percent), 'videos', 'scored', 'views', 'gflops_per_view', 'params_m',
    'step', and what `report.details` adds. Where the data has no test split, or
    none of it can be scored, its val split is scored on the test views, and is
    called 'val'.

  Raises:
    FileNotFoundError: `workdir` holds no checkpoint.
    ValueError: the videos have classes that the model does not know.
  """
  config = as_trained(config, workdir)
  if test_views:
    config.data.views = test_views
  splits = setup.prepare(config, workdir)
  return evaluate_splits(config, splits, workdir)


def rescore(
  workdir: str | pathlib.Path, changes: dict[str, Any]
) -> dict[str, Any]:
  """Scores a checkpoint under a changed config; writes no results.

  Args:
    workdir: of a training run.
    changes: to the config that the checkpoint holds, by dotted name.

  Returns:
    As `evaluate`, but for what `report.details` adds.
  """
  config = as_trained(None, workdir)
  config.update_from_flattened_dict(changes)
  splits = setup.prepare(config, workdir)
  return scored(config, splits, workdir)[1]


def evaluate_splits(
  config: ml_collections.ConfigDict,
  splits: dict[str, Videos],
  workdir: str | pathlib.Path,
) -> dict[str, Any]:
  """`evaluate`, with the model of `config` and videos that are open already."""
  split, scores, predictions = scored(config, splits, workdir)
  if predictions is None:
    log.info('There is neither a test nor a val split: nothing to evaluate')
    return {}
  scores |= report.details(predictions)
  if jax.process_index() == 0:
    results.write_results(workdir, split, scores, predictions)
    page = pathlib.Path(workdir) / f'report_{split}.md'
    page.write_text(report.markdown(split, scores), encoding='utf-8')
    log.info('%s', metrics.summary(split, scores))
    log.info('%s', metrics.cost_line(scores))
    log.info('%s', report.console(scores))
    log.info('Results are in %s and %s', page.parent / 'results.json', page)
  multihost.wait_for_all('results are written')
  return scores


def tested_split(splits: dict[str, Videos]) -> str:
  """The name of the split that a run is judged by; '' where there is none.

  That is test; or val, if no test video is there and has a label. So it is with
  Kinetics where the annotations of test were given and its videos were not, and
  with Something-Something, which keeps the answers.
  """
  known = [split for split in ('test', 'val') if split in splits]
  if len(known) < 2:
    return known[0] if known else ''
  records = splits['test'].records
  labelled = [record for record in records if record.label >= 0]
  if any(not isinstance(record.path, MissingVideo) for record in labelled):
    return 'test'
  log.info(
    'val is scored, not test: of %d test videos, %d have a label, and none of '
    'these was there when the set was prepared',
    *(len(records), len(labelled)),
  )
  return 'val'


def scored(
  config: ml_collections.ConfigDict,
  splits: dict[str, Videos],
  workdir: str | pathlib.Path,
) -> tuple[str, dict[str, Any], metrics.Predictions | None]:
  """The split that is tested, its scores, and the predictions."""
  split = tested_split(splits)
  if not split:
    return 'val', {}, None
  model = trained.load(workdir, config)
  run = model.run
  videos = label_mapping.match_labels(splits[split], run.class_names, split)
  test_views = views.of_config(config.data)
  failed_videos = FailedVideos(workdir)
  failed_videos.record_index({split: videos}, config.data)
  predictions = predict(
    run, model.params, model.batch_stats, videos, test_views, failed_videos
  )
  scores = describe(run, predictions)
  scores |= {'batch_norm': model.batch_norm, 'step': model.step}
  return split, scores, predictions


def validate(
  run: Run,
  params: dict,
  batch_stats: dict,
  videos: Videos,
  failed_videos: FailedVideos,
) -> dict[str, Any]:
  """Scores a state while it trains, on the few views of `config.data.val_*`."""
  data = run.config.data
  few = views.full_views(data, data.val_clips, data.val_crops)
  predictions = predict(run, params, batch_stats, videos, few, failed_videos)
  scores = describe(run, predictions)
  log.info('%s', metrics.summary('val', scores))
  return scores


def predict(
  run: Run,
  params: dict,
  batch_stats: dict,
  videos: Videos,
  test_views: views.Views,
  failed_videos: FailedVideos,
) -> metrics.Predictions:
  """Logits of every video of a split, summed over its views.

  What a device gets at a time has one shape, and views come in one order. So
  the same sums come out, to the bit, whatever the batch size of the training,
  the number of devices, processes and workers.
  """
  data = run.config.data.to_dict()
  data |= {'num_clips': test_views.clips, 'num_crops': test_views.crops}
  group = run.config.get('eval_views', EVAL_VIEWS)
  batches = pipeline.eval_batches(
    videos,
    data,
    batch_size=group * sharding.rows_of_process(run.mesh),
    group=group,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
    workers=data['workers'],
    threads=data['threads'],
  )
  predictions = metrics.predict_videos(
    batches,
    lambda batch: run.forward(params, batch_stats, run.to_devices(batch)),
    videos,
    failed_videos.record,
    str(test_views),
  )
  failed_videos.sync()
  return predictions


def describe(run: Run, predictions: metrics.Predictions) -> dict[str, Any]:
  """Accuracies beside what they cost: views, GFLOPs, parameters."""
  return metrics.compute_metrics(predictions) | {
    'gflops_per_view': round(run.cost.gflops, 4),
    'params_m': round(run.cost.params / 1e6, 4),
  }
