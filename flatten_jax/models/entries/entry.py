# SPDX-License-Identifier: Apache-2.0
"""An entry of the table of models."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

from flax import nnx

from flatten_jax.models.input_specs import InputSpec


@dataclasses.dataclass(frozen=True)
class PublishedWeights:
  """Weights that the authors of a model published.

  Attributes:
    url: a file in any form that `load_torch` reads.
    options: of the model, in which the weights differ from its entry.
    input: fields of the model's input spec in which the weights differ: the
      normalization and the clips that they were trained with.
  """

  url: str
  input: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


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
