# SPDX-License-Identifier: Apache-2.0
"""Explains single clips: answers, Grad-CAM, feature maps, attention."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import pathlib

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from flatten_jax import flattening
from flatten_jax.checkpoints.load import load_config, load_model
from flatten_jax.evaluation import failed_videos
from flatten_jax.explanation import feature_maps, figures, grad_cam
from flatten_jax.inputs import views
from flatten_jax.inputs.augment import transforms
from flatten_jax.inputs.examples import TestClips
from flatten_jax.inputs.flow import fields
from flatten_jax.inputs.sampling import rules
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.runtime import preprocess
from flatten_jax.runtime.loaded_model import LoadedModel

# Fewest positions along a frame's side in the stage whose heat is drawn: those
# of the last stage for the paper's frames of 224 px.
FINE = 7

# A class token's attention, of models without a feature map.
ATTENTION = 'class token'
# Heat maps of the evidence. Grad-CAM keeps the evidence for the class. In a
# residual network, zero has no meaning, so that the background may be hot and
# the moving object a hole; contrast is the distance to the clip's median.
HEATS = {
  'Grad-CAM': lambda evidence: np.maximum(evidence, 0),
  'contrast': lambda evidence: np.abs(evidence - np.median(evidence)),
}


def open_model(
  workdir: str | pathlib.Path, config: ml_collections.ConfigDict | None = None
) -> LoadedModel:
  """Loads the model of a workdir; ValueError if it has no heat to draw."""
  model = load_model(workdir, load_config(workdir, config))
  if not attends_by_token(model.module):
    grad_cam.check(model.module)
  return model


def attends_by_token(model: nnx.Module) -> bool:
  """Returns whether a class token's attention is shown in place of Grad-CAM."""
  has_map = getattr(model, 'has_feature_map', True)
  return not has_map and bool(getattr(model, 'token_attention', None))


@dataclasses.dataclass(frozen=True)
class ClipExplanation:
  """The activations and the answer for one clip, a video's middle view.

  Attributes:
    model: the explained model.
    id: of the video.
    labels: numbers of its classes among the model's, several or none with
      `data.multi_label`; None if unknown.
    clip: as the model saw it, uint8 [T H W 3]; flow as `fields.picture`.
    order: [T], which frame sits in each cell; None if frames stay apart.
    inputs: of the model: 'images' [1 r*H c*W 3] or [1 T H W 3], or 'frames'
      [1 T H W 3], and 'positions' of the frames [1 T].
    probabilities: [K].
    maps: strength of the feature map of each stage, [h w] or [t h w]; none of a
      model that classifies by a token.
    evidence: for and against the predicted class at each position of each
      stage, likewise, see `grad_cam.evidence`; or the class token's attention
      in the last block, alone.
  """

  model: LoadedModel
  id: str
  labels: tuple[int, ...] | None
  clip: np.ndarray
  order: np.ndarray | None
  inputs: preprocess.Inputs
  probabilities: np.ndarray
  maps: list[np.ndarray]
  evidence: list[np.ndarray]

  @property
  def predicted(self) -> int:
    """The most probable class."""
    return int(self.probabilities.argmax())

  @property
  def answer(self) -> str:
    """The name of the most probable class."""
    return self.model.class_names[self.predicted]

  @property
  def probability(self) -> float:
    """The probability of the predicted class."""
    return float(self.probabilities.max())

  @property
  def label_names(self) -> list[str]:
    """The names of its classes; none if they are unknown."""
    return [self.model.class_names[label] for label in self.labels or ()]

  @property
  def right(self) -> bool | None:
    """True if the predicted class is a label; None if there are no labels."""
    return self.predicted in self.labels if self.labels else None

  @property
  def grid(self) -> tuple[int, int]:
    """(rows, columns) of the flattened image; (1, 1) if frames stay apart."""
    if self.order is None:
      return 1, 1
    grid = tuple(self.model.config.grid) or None
    return flattening.grid_shape(len(self.order), grid)

  @property
  def fine_stage(self) -> int:
    """The last stage, from 1, with `FINE` positions per frame side."""
    sides = [x.shape[-2] / self.grid[0] for x in self.evidence]
    fine = [i for i, side in enumerate(sides, start=1) if side >= FINE]
    return max(fine, default=1)

  @property
  def heats(self) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """The heat maps of the evidence: `HEATS`, or a class token's attention."""
    return HEATS if self.maps else {ATTENTION: lambda attention: attention}

  @property
  def heat_name(self) -> str:
    """The name of the first of `heats` in a sentence."""
    return 'Grad-CAM' if self.maps else f'attention of the {ATTENTION}'

  def evidence_for(self, label: int) -> list[np.ndarray]:
    """Returns the evidence for and against any class, by stage.

    The attention of a class token is the same for all classes.
    """
    return _compute(self.model, self.inputs, label)[2]

  def onto_frames(self, values: np.ndarray) -> np.ndarray:
    """Resizes a map to the frames' pixels. -> float32 [T H W]."""
    num_frames, side = self.clip.shape[:2]
    return feature_maps.onto_frames(
      values, self.order, self.grid, num_frames, side
    )

  def draw_heat(
    self, evidence: np.ndarray, kind: str | None = None
  ) -> np.ndarray:
    """Draws one of `heats` over the clip, or the first. -> [T H' W' 3]."""
    heat = self.heats[kind or next(iter(self.heats))](evidence)
    heat = self.onto_frames(heat)
    return figures.overlay(self.clip, heat)


def explain_clip(
  model: LoadedModel, videos: Videos, index: int, place: int | None = None
) -> ClipExplanation:
  """Explains the middle view of one video, preprocessed as in evaluation.

  Args:
    model: with heat to draw, see `open_model`.
    videos: labelled as the model is, see `evaluation.label_mapping`.
    index: of the video; VideoError if it cannot be read.
    place: its index in the evaluated split, if that is another: the layout
      'random' is drawn by it.
  """
  config, record = model.config, videos[index]
  clip, positions = read_clip(videos, index, config.data)
  batch = {
    'clip': clip[None],
    'positions': positions[None],
    'index': np.array([index if place is None else place], np.int32),
    'view': np.zeros(1, np.int32),
  }
  order = None
  if not model.takes_clips:
    order = np.asarray(preprocess.frame_orders(batch, config)[0])
  inputs = preprocess.eval_inputs(batch, config)
  logits, maps, evidence = _compute(model, inputs, -1)
  return ClipExplanation(
    model=model,
    id=record.id,
    labels=record.classes if record.is_labelled else None,
    clip=fields.picture(
      np.asarray(preprocess.reorder_frames(batch, config)[0])
    ),
    order=order,
    inputs=inputs,
    probabilities=np.asarray(model.task.activation(logits)),
    maps=maps,
    evidence=evidence,
  )


def read_clip(
  videos: Videos, index: int, data: Mapping
) -> tuple[np.ndarray, np.ndarray]:
  """Reads the middle view of a video, or raises VideoError.

  Returns:
    uint8 [T s s C], and the numbers of the frames [T].
  """
  middle = dataclasses.replace(views.of_config(data), clips=1, crops=1)
  data = middle.apply(data)
  example = TestClips(videos, data)(index)
  if example['failed'] >= 0:
    cause = failed_videos.decode_cause(example['error'])
    raise VideoError(str(videos[index].path), cause)
  (clip,), steps = example['clip'], rules.of_data(data).crop_steps
  (crop,) = transforms.test_crops(clip, data['crop'], 1, steps)
  return crop, example['positions'][0]


def _compute(model: LoadedModel, inputs: preprocess.Inputs, label: int):
  """Returns logits [K], and maps and evidence by stage, of one clip."""
  graphdef, state = nnx.split(model.module)
  labels = jnp.full(1, label, jnp.int32)
  found = jax.device_get(_compute_batch(graphdef, state, inputs, labels))
  return jax.tree.map(lambda x: x[0], found)


@functools.partial(jax.jit, static_argnames='graphdef')
def _compute_batch(graphdef, state, inputs, labels):
  """Computes everything in one forward and one backward pass."""
  model = nnx.merge(graphdef, state)
  if attends_by_token(model):
    logits = preprocess.call(model, inputs).astype(jnp.float32)
    return logits, [], [preprocess.call(model, inputs, 'token_attention')]
  stages = range(1, grad_cam.check(model) + 1)
  logits, maps, gradients = grad_cam.maps_and_gradients(
    *preprocess.called_with(model, inputs), labels, stages
  )
  evidence = list(map(grad_cam.evidence, maps, gradients))
  strengths = [feature_maps.strength(x) for x in maps]
  return logits.astype(jnp.float32), strengths, evidence
