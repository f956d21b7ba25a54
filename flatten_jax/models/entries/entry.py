# SPDX-License-Identifier: Apache-2.0
"""An entry of the table of models."""

from collections.abc import Callable, Mapping
import dataclasses
import pathlib
from typing import Any

from flax import nnx

from flatten_jax.models.input_specs import InputSpec

# Names of classes in the order of their numbers. UniFormer's authors number
# Kinetics-400 in an order of their own, most others by the alphabet.
KINETICS400, KINETICS400_UNIFORMER = (
  'kinetics400.txt',
  'kinetics400_uniformer.txt',
)
SOMETHING_V2 = 'something_something_v2.txt'
# Of ours, `*_nano`: nine frames of 32 px, spread over the video.
NANO = InputSpec(num_frames=9, sampling='segment', crop=32)
FILES = pathlib.Path(__file__).parents[1] / 'weights' / 'files'


@dataclasses.dataclass(frozen=True)
class PublishedWeights:
  """Weights that the authors of a model published.

  Attributes:
    url: a file in any form that `load_torch` reads.
    options: of the model, in which the weights differ from its entry.
    input: fields of the model's input spec in which the weights differ: the
      normalization and the clips that they were trained with.
    class_names: a file of `weights/files` with the names of the classes, in the
      order of the logits, which differs between publishers; '' if it is not
      known.
    config: other values of a config, by dotted key, to use the weights with.
  """

  url: str
  input: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  class_names: str = ''
  config: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def read_class_names(self) -> tuple[str, ...]:
    """Returns the names of the classes; none if they are not known."""
    if not self.class_names:
      return ()
    text = (FILES / self.class_names).read_text(encoding='utf-8')
    return tuple(text.splitlines())


@dataclasses.dataclass(frozen=True)
class ModelEntry:
  """A model of `MODELS`.

  Attributes:
    module: the class; called with (config, num_classes, rngs=...).
    config: sizes, a frozen dataclass.
    input: the clips that it takes, flattened or not.
    weights: training set -> published weights.
  """

  module: Callable[..., nnx.Module]
  config: Any
  input: InputSpec = dataclasses.field(default_factory=InputSpec)
  weights: Mapping[str, PublishedWeights] = dataclasses.field(
    default_factory=dict
  )
