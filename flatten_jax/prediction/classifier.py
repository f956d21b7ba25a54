# SPDX-License-Identifier: Apache-2.0
"""A trained model as an object that is loaded once: `fj.load`."""

from collections.abc import Sequence
import os
from typing import Any, Unpack

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from flatten_jax import hub
from flatten_jax.inputs.augment import transforms
from flatten_jax.inputs.flow import fields
from flatten_jax.inputs.video.interface import scaled_shape
from flatten_jax.prediction import find_videos, predict as prediction
from flatten_jax.prediction.find_videos import TO_RGB
from flatten_jax.prediction.results import Prediction
from flatten_jax.runtime.loaded_model import LoadedModel

_PERMUTATIONS = {  # Where the channels are -> the line to write.
  1: 'clips.transpose(0, 2, 3, 4, 1)',
  2: 'clips.transpose(0, 1, 3, 4, 2)',
}


def load(
  source: str | os.PathLike,
  views: str = '',
  **inputs: Unpack[prediction.Inputs],
) -> 'VideoClassifier':
  """Loads a trained run, or published weights, with their class names.

      model = fj.load('runs/mine')
      model.predict('clip.mp4').top()
      logits = model(clips)  # uint8 [B T H W 3]

  Args:
    source: workdir of a training run; the folder of a model that was pushed,
      or its address on the Hugging Face Hub, 'hf://user/name'; or published
      weights with their model, 'uniformer_nano/quickstart', which is part of
      this package, or 'uniformer3d_s/kinetics400', which is downloaded on first
      use.
    views: replaces the test views of the run, e.g. '3x4': 3 crops of each of 4
      clips. For `predict`.
    **inputs: settings of `prediction.predict.Inputs`, which replace the run's.

  Raises:
    FileNotFoundError: there is no checkpoint.
    ValueError: there are no such weights, or a setting is wrong.
  """
  return VideoClassifier(prediction.load(source, views, inputs=inputs))


def from_pretrained(
  repo_or_folder: str | os.PathLike,
  *,
  revision: str = '',
  views: str = '',
  **inputs: Unpack[prediction.Inputs],
) -> 'VideoClassifier':
  """Loads a model that `fj.push` has written, from the Hub or a folder.

      model = fj.from_pretrained('user/name')

  Only safetensors and JSON are read, and nothing is executed.

  Args:
    repo_or_folder: 'user/name' on the Hugging Face Hub, also of a private
      repository that the token of this machine opens; or a folder.
    revision: a branch, a tag or a commit of the repository.
    views: as for `load`.
    **inputs: as for `load`.

  Returns:
    As `load`, which takes 'hf://user/name@revision' too.

  Raises:
    OSError: there is no such repository or revision, or it is not in the cache
      and cannot be reached.
    RuntimeError: huggingface_hub is not installed.
    ValueError: it contains another model, or a setting is wrong.
  """
  source = repo_or_folder
  if not os.path.exists(os.path.expanduser(source)):
    source = hub.address_of(source) or source
  if revision:
    if not hub.is_address(source):
      raise ValueError(f'{source} is a folder, which has no revisions.')
    source = f'{source}@{revision}'
  return load(source, views, **inputs)


class VideoClassifier:
  """A trained model with its class names and its input.

  Attributes:
    loaded: weights, config and preprocessing, as the modes use them.
  """

  def __init__(self, loaded: LoadedModel):
    self.loaded = loaded

  @property
  def class_names(self) -> tuple[str, ...]:
    """Class names in the order of the logits."""
    return self.loaded.class_names

  @property
  def config(self) -> ml_collections.FrozenConfigDict:
    """The resolved config of the run."""
    return self.loaded.config

  @property
  def clip_shape(self) -> tuple[int, int, int, int]:
    """Frames, height, width and channels of a clip as the model sees it."""
    data = self.config.data
    side = transforms.test_crop(data)
    frames = self.loaded.views.frames
    return frames, side, side, fields.num_channels(data)

  @property
  def module(self) -> nnx.Module:
    """The network by itself: normalized images, or clips, -> logits."""
    return self.loaded.module

  def __call__(self, clips: Any) -> jax.Array:
    """Returns the logits of clips, one test view each. -> float32 [B K].

    Frames of another size are resized and cropped as in the test.

    Args:
      clips: uint8 [B T H W 3], RGB from 0 to 255, numpy or JAX; or one clip
        [T H W 3], whose logits are [K].

    Raises:
      ValueError: the type, the order of the axes or the number of frames is
        another, and the message has the line to write; or there are no pixels.
    """
    clips = np.asarray(clips)
    if clips.ndim == 4:
      return self(clips[None])[0]
    self._check(clips)
    clips = np.stack([self._resized(clip) for clip in clips])
    count, devices = len(clips), self.loaded.experiment.mesh.size
    padded = -(-count // devices) * devices
    clips = clips[np.arange(padded) % count]
    numbers = np.arange(padded, dtype=np.int32)
    frames = np.arange(clips.shape[1], dtype=np.int32)
    result = self.loaded(
      {
        'clip': clips,
        'positions': np.broadcast_to(frames, clips.shape[:2]).copy(),
        'index': numbers,
        'view': np.zeros_like(numbers),
        'mask': np.ones(padded, bool),
      }
    )
    return jnp.asarray(result['logits'])[:count]

  def probabilities(self, clips: Any) -> jax.Array:
    """Returns the probabilities of clips. -> float32 [B K].

    They are the softmax of the logits; of a multi-label model the sigmoid.
    """
    return self.loaded.task.activation(self(clips))

  def predict(
    self,
    video: 'find_videos.Video | Sequence[find_videos.Video]',
    **options: Any,
  ) -> Prediction | list[Prediction]:
    """Classifies a video by all test views of the run.

    Args:
      video: a file, its URL, a binary stream, frames (uint8 [T H W 3] in their
        order, of any number and size), or a folder or a sequence of these.
      **options: of `fj.predict`: `timeline`, `every`, `window`, `annotate`,
        `out`, `show`.

    Returns:
      A prediction; a list of them for a folder or a sequence.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the one video cannot be read, or gets no finite scores.
    """
    found = prediction.predict(self, video, **options)
    if not _is_one(video):
      return found
    if found[0].error:
      raise ValueError(f'{found[0].video} {found[0].failure}')
    return found[0]

  def _check(self, clips: np.ndarray) -> None:
    """Refuses what is not uint8 [B T H W C], with the line to write."""
    frames, *_, channels = self.clip_shape
    expected = f'uint8 clips [B {frames} H W {channels}]'
    came = f'{clips.dtype} {list(clips.shape)}'
    hint = ''
    if not clips.size:
      hint = ' These have no pixels.'
    elif clips.ndim == 5 and channels == 3 and clips.shape[-1] in TO_RGB:
      hint = f' Write clips{TO_RGB[clips.shape[-1]]}.'
    elif clips.ndim == 5 and clips.shape[-1] != channels:
      axes = [i for i in (1, 2) if clips.shape[i] == channels]
      hint = f' Write {_PERMUTATIONS[axes[0]]}.' if axes else ''
    elif clips.ndim == 5 and clips.dtype != np.uint8:
      hint = ' Give the pixels from 0 to 255: it normalizes them itself.'
      if np.issubdtype(clips.dtype, np.floating) and clips.min() >= 0:
        write = '(255 * clips)' if clips.max() <= 1 else 'clips'
        hint += f' Write {write}.round().astype(np.uint8).'
    elif clips.ndim == 5 and clips.shape[1] != frames:
      last = clips.shape[1] - 1
      hint = (
        ' `predict` samples the frames of a video as the test does; or write '
        f'clips[:, np.linspace(0, {last}, {frames}).round().astype(int)].'
      )
    elif clips.ndim == 5:
      return
    raise ValueError(f'This model takes {expected}; got {came}.{hint}')

  def _resized(self, clip: np.ndarray) -> np.ndarray:
    """Returns the middle of a clip, of the size of a test view."""
    data, side = self.config.data, self.clip_shape[1]
    if clip.shape[1:3] == (side, side):
      return clip
    size = transforms.test_frame_size(data) or side
    clip = transforms.resize(clip, scaled_shape(clip.shape[1:3], size))
    return transforms.test_crops(clip, side, 1)[0]

  def __repr__(self) -> str:
    frames, side, *_ = self.clip_shape
    return (
      f'VideoClassifier({self.loaded.source}: {len(self.class_names)} classes, '
      f'{frames} frames of {side} px)'
    )


def _is_one(video: Any) -> bool:
  """Returns whether a video is one file, stream or clip, not a folder."""
  if isinstance(video, str | os.PathLike):
    return not os.path.isdir(os.path.expanduser(video))
  if hasattr(video, 'read') or hasattr(video, 'shape'):
    return True
  return len(video) > 0 and find_videos.is_frame(video[0])
