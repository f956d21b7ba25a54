# SPDX-License-Identifier: Apache-2.0
"""A linear model on pixels, for comparison: ridge regression on small frames.

Eight frames over the whole video, in grey, of 20 x 16 pixels, without the mean
of the frames: what is left is what changes.
"""

import concurrent.futures
import pathlib

import numpy as np

from benchmarks.own_videos.runs import LINEAR
from flatten_jax.evaluation import metrics, report, results
from flatten_jax.evaluation.order import ridge
from flatten_jax.inputs.parts import read_clip
from flatten_jax.inputs.sampling import rules
from flatten_jax.inputs.sources import dataset
from flatten_jax.inputs.sources.dataset import Record, Videos
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.reader import Reader
from flatten_jax.runtime.configuration import default_config

FRAMES, HEIGHT, WIDTH = 8, 16, 20


def fit(out: pathlib.Path, name: str, root: pathlib.Path, fold: int) -> float:
  """Fits and tests one fold of a set; returns its top-1 in percent.

  Writes results and predictions like those of a run.
  """
  data = default_config.data()
  data.root, data.fold, data.sampling = str(root), fold, 'even'
  data.num_frames, data.num_clips = FRAMES, 1
  splits = dataset.open_splits(data)
  train, test = splits['train'], splits['test']
  pixels, read = read_all(train, data.to_dict())
  tested, scored = read_all(test, data.to_dict())
  classes = test.num_classes
  answers = ridge.classify(
    pixels[read], labels_of(train)[read], tested, classes
  )
  predictions = metrics.Predictions(
    np.array([record.id for record in test.records]),
    labels_of(test),
    np.eye(classes, dtype=np.float32)[answers],
    scored,
    test.class_names,
    f'{HEIGHT}x{FRAMES}x1x1',
  )
  weights = classes * (pixels.shape[1] + 1)
  scores = metrics.compute_metrics(predictions) | report.details(predictions)
  scores |= {'gflops_per_view': weights / 1e9, 'params_m': weights / 1e6}
  scores |= {'step': 0, 'name': 'test', 'protocol': {'data': str(root)}}
  folder = out / name / LINEAR / 'flatten' / f'fold_{fold}_seed_0'
  folder.mkdir(parents=True, exist_ok=True)
  results.write_results(folder, 'test', scores, predictions)
  return scores['top1']


def labels_of(videos: Videos) -> np.ndarray:
  """Returns the class numbers of videos."""
  return np.array([record.label for record in videos.records])


def read_all(videos: Videos, data: dict) -> tuple[np.ndarray, np.ndarray]:
  """Returns the pixels of all videos [N D], and which could be read [N]."""
  reader = Reader(data)

  def pixels(record: Record) -> np.ndarray | None:
    try:
      clip, _ = read_clip(
        reader,
        record,
        (HEIGHT, WIDTH),
        lambda part: rules.test_clips(data, part).ravel(),
      )
    except VideoError:
      return None
    grey = clip.mean(-1, dtype=np.float32)
    return (grey - grey.mean(0)).ravel()

  with concurrent.futures.ThreadPoolExecutor(data['threads']) as pool:
    found = list(pool.map(pixels, videos.records))
  blank = np.zeros(FRAMES * HEIGHT * WIDTH, np.float32)
  return (
    np.stack([blank if row is None else row for row in found]),
    np.array([row is not None for row in found]),
  )
