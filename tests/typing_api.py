# SPDX-License-Identifier: Apache-2.0
"""Every public function as a typed program calls it; mypy reads this file.

`assert_type` fails if a name loses its annotations and becomes `Any`.
"""

from pathlib import Path
from typing import Any, assert_type

import jax
from ml_collections import ConfigDict
import numpy as np

import flatten_jax as fj
from flatten_jax.models.weights.conversion import LoadReport
from flatten_jax.prediction.results import Prediction
from flatten_jax.prediction.stream import StreamAnswer
from flatten_jax.runtime.cost import Cost
from flatten_jax.runtime.state import TrainState


def snake(num_frames: int, grid: tuple[int, int]) -> list[int]:
  return list(range(num_frames))


def flattens(clips: jax.Array, frames: np.ndarray) -> None:
  assert_type(fj.flatten(clips, 'nested', grid=(4, 4)), jax.Array)
  assert_type(fj.flatten(frames, 'random', rng=jax.random.key(0)), jax.Array)
  assert_type(fj.flatten(clips, snake), jax.Array)
  assert_type(fj.unflatten(clips, 16, 'row_major'), jax.Array)
  assert_type(fj.frame_order('nested', 16), np.ndarray | jax.Array)
  assert_type(fj.grid_shape(8, (2, 4)), tuple[int, int])


def classifies(clips: jax.Array, weights: Path) -> None:
  assert_type(fj.list_models('uniformer*', pretrained=True), list[str])
  assert_type(fj.model_table('uniformer*'), str)
  model = fj.create_model('swinv2_t', num_classes=12, window=24)
  assert_type(model(clips), jax.Array)
  assert_type(model.classify(model.features(clips)), jax.Array)
  report = fj.load_torch(model, weights, allow={'new_head'})
  assert_type(report, LoadReport)
  assert_type(fj.export_torch(model, weights), dict[str, np.ndarray])
  assert_type(fj.Flattened(model, 'nested'), fj.Flattened)
  assert_type(fj.Averaged(model), fj.Averaged)
  assert_type(fj.grad_cam(model, clips, labels=[3], stage=2), jax.Array)
  cost = fj.cost('uniformer_s', frames=16, resolution=224)
  assert_type(cost, Cost)
  assert_type(cost.gflops, float)


def loads_a_run(workdir: Path, clips: np.ndarray) -> None:
  model = fj.load(workdir, '3x4', crop=160)
  assert_type(model, fj.VideoClassifier)
  assert_type(model(clips), jax.Array)
  assert_type(model.class_names, tuple[str, ...])
  assert_type(model.predict('clip.mp4'), Prediction | list[Prediction])
  pulled = fj.from_pretrained('user/name', revision='v1', crop=160)
  assert_type(pulled, fj.VideoClassifier)
  assert_type(fj.push(workdir, 'user/name', license='mit', private=True), str)


def watches_a_camera(workdir: Path) -> None:
  for answer in fj.stream(workdir, 'rtsp://camera/1', window=2.0, live=True):
    assert_type(answer, StreamAnswer)
    assert_type(answer.label, str)
    assert_type(answer.latency, float)
    assert_type(answer.prediction, Prediction)


def reads_videos(folder: Path, rng: np.random.Generator) -> None:
  videos = fj.VideoDataset(folder, 'test', num_frames=8, size=112, flip=False)
  assert_type(len(videos), int)
  assert_type(videos[0], dict[str, Any])
  assert_type(videos.random_clip(0, rng), dict[str, Any])
  assert_type(videos.frames(0, 4, step=2), dict[str, Any])
  assert_type(videos.times(0), np.ndarray)
  assert_type(videos.class_names, tuple[str, ...])
  fj.VideoDataset([folder, 'b.mp4'])
  fj.VideoDataset(None)  # type: ignore[arg-type]


def runs(config: ConfigDict, workdir: Path) -> None:
  assert_type(fj.train_and_evaluate(config, workdir), TrainState)
  assert_type(fj.evaluate(None, str(workdir), '3x4'), dict[str, Any])
  assert_type(fj.score_workdir(workdir), dict[str, Any])
  assert_type(fj.cross_validate(config, workdir, seeds=2), dict[str, Any])
  assert_type(fj.evaluate_folds(None, workdir), dict[str, Any])
  assert_type(
    fj.fuse(['runs/rgb', workdir], workdir, weights=[1, 1.5]), dict[str, Any]
  )
  assert_type(
    fj.ablate(config, workdir, variants=['nested'], folds=True), dict[str, Any]
  )
  assert_type(
    fj.compare(config, workdir, systems=['i3d_nano'], seeds=2), dict[str, Any]
  )
  assert_type(fj.profile(config, workdir, num_steps=9), dict[str, Any])
  assert_type(fj.find_batch_size(config, workdir, limit=64), dict[str, Any])
  assert_type(fj.lr_range(config, workdir, steps=50), dict[str, Any])
  compiled = fj.compile_for(config, workdir, 'v5e:4x4', largest_batch=True)
  assert_type(compiled, dict[str, Any])
  assert_type(fj.inspect_inputs(config, workdir, num_clips=4), Path)
  assert_type(fj.index_videos(config, workdir, full=True), Path)


def uses_a_run(workdir: Path, video: Path) -> None:
  predictions = fj.predict(workdir, [video, 'b.mp4'], timeline=True, every=0.5)
  assert_type(predictions, list[Prediction])
  assert_type(predictions[0].top(), list[tuple[str, float]])
  fj.predict(str, video, class_names=['a'], num_frames=16, crop=160)  # type: ignore[arg-type]
  assert_type(
    fj.explain(workdir, videos=2, against='runs/other'), dict[str, Any]
  )
  assert_type(fj.launch_demo(workdir, port=7860), None)
  assert_type(fj.export(workdir, formats=['stablehlo']), dict[str, float])
  assert_type(fj.report(workdir), Path)
  assert_type(fj.draw_runs([workdir, 'runs/other'], workdir), Path)
  assert_type(fj.cost_table(None), str)
