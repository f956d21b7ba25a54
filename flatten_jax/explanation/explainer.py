# SPDX-License-Identifier: Apache-2.0
"""What a trained run makes of single clips: answers, heat, maps, attention."""

import dataclasses
import functools
import pathlib

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from flatten_jax import flattening
from flatten_jax.evaluation import failed_videos
from flatten_jax.explanation import attention_maps, feature_maps, grad_cam
from flatten_jax.inputs.augment import transforms
from flatten_jax.inputs.examples import TestClips
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.models import external
from flatten_jax.runtime import preprocess, trained
from flatten_jax.runtime.run import Run

# Positions along a frame's side that heat has by default, or more: what the
# last stage has of the paper's frames of 224 px.
FINE = 7


# What can be drawn of evidence. Grad-CAM is what speaks for a class. But zero
# means nothing in the features of a residual network: what fills most of a clip
# may be hot, and what moves in front of it a hole. Contrast is the distance to
# what is usual in the clip, on either side.
HEATS = {
  'Grad-CAM': lambda evidence: np.maximum(evidence, 0),
  'contrast': lambda evidence: np.abs(evidence - np.median(evidence)),
}


@dataclasses.dataclass(frozen=True)
class Look:
  """What a run makes of one clip, the middle view of a video.

  Attributes:
    id: of the video.
    label: its class's number among the run's; -1 where unknown.
    clip: as the model saw it, uint8 [T H W 3].
    order: [T], which frame sits in each cell; None for a model of clips.
    images: what the model was given, [1 r*H c*W 3] or [1 T H W 3].
    probabilities: [K].
    maps: the strength of the feature map of each stage, [h w] or [t h w].
    evidence: what each stage's positions say for and against the predicted
      class, likewise, see `grad_cam.evidence`.
  """

  id: str
  label: int
  clip: np.ndarray
  order: np.ndarray | None
  images: jax.Array
  probabilities: np.ndarray
  maps: list[np.ndarray]
  evidence: list[np.ndarray]

  @property
  def predicted(self) -> int:
    """The class that the model says it is."""
    return int(self.probabilities.argmax())

  @property
  def probability(self) -> float:
    """What it gives that class."""
    return float(self.probabilities.max())

  @property
  def wrong(self) -> bool:
    """Whether it is known to be another class."""
    return self.label not in (-1, self.predicted)


@dataclasses.dataclass(frozen=True)
class Viewer:
  """A trained model that looks at one clip at a time.

  Attributes:
    name: the workdir's.
    run: its config and classes.
    model: with its weights.
    step: of the checkpoint that they are from.
  """

  name: str
  run: Run
  model: nnx.Module
  step: int

  @classmethod
  def open(
    cls,
    workdir: str | pathlib.Path,
    config: ml_collections.ConfigDict | None = None,
  ) -> 'Viewer':
    """Opens a workdir.

    Args:
      workdir: of a training run.
      config: which videos; None for the config that the checkpoint holds.

    Raises:
      FileNotFoundError: it holds no checkpoint.
      ValueError: the model has no feature maps to look at.
    """
    config = trained.as_trained(config, workdir)
    loaded = trained.load(workdir, config)
    # On one device: a single clip does not divide over more.
    weights = jax.device_get((loaded.params, loaded.batch_stats))
    weights = jax.tree.map(jnp.asarray, weights)
    model = external.inner_model(nnx.merge(loaded.run.graphdef, *weights))
    grad_cam.check(model)
    name = pathlib.Path(workdir).resolve().name
    return cls(name, loaded.run, model, loaded.step)

  @property
  def config(self) -> ml_collections.FrozenConfigDict:
    """The run's, frozen."""
    return self.run.config

  @property
  def class_names(self) -> tuple[str, ...]:
    """In the order of the probabilities."""
    return self.run.class_names

  @functools.cached_property
  def grid(self) -> tuple[int, int]:
    """(rows, columns) of the mosaic; for a model of clips, of one frame."""
    if preprocess.takes_clips(self.config):
      return 1, 1
    grid = tuple(self.config.grid) or None
    return flattening.grid_shape(self.config.data.num_frames, grid)

  def look(self, videos: Videos, index: int, place: int | None = None) -> Look:
    """Shows the model one video, as `steps.eval_step` would.

    Args:
      videos: labelled as the run is, see `train.matching`.
      index: which of them.
      place: its number in the split that was scored, where that is another:
        the layout 'random' is drawn by it.

    Raises:
      VideoError: it cannot be read.
    """
    config, record = self.config, videos[index]
    batch = {
      'clip': self._read(videos, index)[None],
      'index': np.array([index if place is None else place], np.int32),
      'view': np.zeros(1, np.int32),
    }
    key_order, key_play = jax.random.split(jax.random.key(config.seed))
    clips = jnp.asarray(
      preprocess.play(batch, config.eval_frame_order, key_play)
    )
    images, order = preprocess.normalize(clips, config), None
    if not preprocess.takes_clips(config):
      order = self._order(preprocess.key_of_each(batch, key_order)[0])
      images = flattening.flatten(images[:, order], grid=self.grid)
    logits, maps, evidence = self._see(images, -1)
    return Look(
      id=record.id,
      label=record.label,
      clip=np.asarray(clips[0]),
      order=order,
      images=images,
      probabilities=np.asarray(jax.nn.softmax(logits)),
      maps=maps,
      evidence=evidence,
    )

  def evidence(self, look: Look, label: int) -> list[np.ndarray]:
    """By stage, for and against another class than the predicted one."""
    return self._see(look.images, label)[2]

  def heats(self, look: Look, label: int) -> list[np.ndarray]:
    """Grad-CAM for a class, by stage."""
    return [HEATS['Grad-CAM'](x) for x in self.evidence(look, label)]

  def stage(self, look: Look) -> int:
    """The last one with `FINE` positions along the side of a frame, from 1."""
    sides = [x.shape[-2] / self.grid[0] for x in look.maps]
    fine = [i for i, side in enumerate(sides, start=1) if side >= FINE]
    return max(fine, default=1)

  def onto_frames(self, look: Look, values: np.ndarray) -> np.ndarray:
    """A map or heat on the pixels of the frames. -> float32 [T H W]."""
    num_frames, side = look.clip.shape[:2]
    return feature_maps.onto_frames(
      values, look.order, self.grid, num_frames, side
    )

  def attention(self, look: Look) -> dict[str, np.ndarray]:
    """Which frames each frame looks at, by block; empty where there is none."""
    if not attention_maps.attends(self.model):
      return {}
    shapes = [x.shape for x in look.maps]
    if look.order is None:
      shares = [attention_maps.clip_shares(shape) for shape in shapes]
    else:
      shares = [
        attention_maps.image_shares(shape, self.grid, look.order)
        for shape in shapes
      ]
    return attention_maps.frame_attention(self.model, look.images, shares)

  def _see(self, images, label):
    """Logits [K], maps and evidence by stage."""
    graphdef, state = nnx.split(self.model)
    labels = jnp.full(1, label, jnp.int32)
    seen = jax.device_get(_see(graphdef, state, images, labels))
    return jax.tree.map(lambda x: x[0], seen)

  def _order(self, key: jax.Array) -> np.ndarray:
    """Which frame sits in each cell, [T]."""
    config = self.config
    num_frames, grid = config.data.num_frames, tuple(config.grid) or None
    return np.asarray(
      flattening.frame_order(config.flatten, num_frames, grid=grid, rng=key)
    )

  def _read(self, videos: Videos, index: int) -> np.ndarray:
    """The middle view of a video, uint8 [T H W 3]."""
    data = self.config.data.to_dict() | {'num_clips': 1, 'num_crops': 1}
    element = TestClips(videos, data)(index)
    if element['failed'] >= 0:
      cause = failed_videos.decode_cause(element['error'])
      raise VideoError(str(videos[index].path), cause)
    (crop,) = transforms.test_crops(element['clip'], data['crop'], 1)
    return crop[0]


@functools.partial(jax.jit, static_argnames='graphdef')
def _see(graphdef, state, images, labels):
  """All there is to see, in one forward and one backward pass."""
  model = nnx.merge(graphdef, state)
  stages = range(1, grad_cam.check(model) + 1)
  logits, maps, gradients = grad_cam.maps_and_gradients(
    model, images, labels, stages
  )
  evidence = [
    grad_cam.evidence(*pair) for pair in zip(maps, gradients, strict=True)
  ]
  strengths = [feature_maps.strength(x) for x in maps]
  return logits.astype(jnp.float32), strengths, evidence
