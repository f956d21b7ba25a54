# SPDX-License-Identifier: Apache-2.0
"""Opens an exported program as a model that predicts.

The program computes the logits; `metadata.json` beside it has the class names
and how a video is shown.
"""

import dataclasses
import json
import os
import pathlib

import jax
import ml_collections
import numpy as np

from flatten_jax import paths
from flatten_jax.exporting import standalone_runtime
from flatten_jax.inputs.pipeline import Batch
from flatten_jax.runtime.configuration import config as configs
from flatten_jax.runtime.devices import sharding
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.loaded_model import LoadedModel

METADATA = 'metadata.json'
_NAMES = tuple(f'model.{kind}' for kind in standalone_runtime.OPEN)


@dataclasses.dataclass(frozen=True, eq=False)
class ExportedModel(LoadedModel):
  """An exported program in place of a network: it has logits, no gradients.

  Attributes:
    program: uint8 clips [B T s s C] -> float32 logits [B K].
  """

  program: standalone_runtime.Program | None = None

  def __call__(self, batch: Batch) -> dict[str, jax.Array]:
    """Computes the logits of a batch, as `LoadedModel` does."""
    logits = self.program(np.asarray(batch['clip']))
    return {'logits': logits, 'index': batch['index'], 'mask': batch['mask']}


def is_export(source: str | os.PathLike) -> bool:
  """Returns whether a source is an exported file, or a folder of such files."""
  path = paths.expand(source)
  return path.is_file() or (path / METADATA).is_file()


def load(source: str | os.PathLike) -> ExportedModel:
  """Loads what `export` wrote.

  Args:
    source: model.stablehlo or model.onnx, with metadata.json beside it; or
      their folder, whose first one is taken.

  Raises:
    ValueError: it is another file.
    FileNotFoundError: there is no such program, or no metadata.json.
    RuntimeError: the program is ONNX, and ONNX Runtime is not installed.
  """
  path = _program(paths.expand(source))
  metadata = path.with_name(METADATA)
  if not metadata.is_file():
    raise FileNotFoundError(
      f'{path.name} needs the class names and the input of {METADATA}, which '
      f'is not in {path.parent}. --mode=export writes both.'
    )
  try:
    program = standalone_runtime.OPEN[path.suffix[1:]](path)
  except ImportError as error:
    raise RuntimeError(
      f'{path} needs ONNX Runtime: `pip install onnxruntime`.'
    ) from error
  described = json.loads(metadata.read_text())
  config = configs.complete(described['config'])
  mesh = sharding.make_mesh(config, jax.local_devices()[:1])
  experiment = Experiment(
    ml_collections.FrozenConfigDict(config),
    tuple(described['class_names']),
    None,
    mesh,
  )
  return ExportedModel(
    experiment,
    params={},
    batch_stats={},
    step=described['step'],
    source=f'{described["model"]}, exported as {path}',
    thresholds=tuple(described['output'].get('thresholds', ())),
    program=program,
  )


def _program(path: pathlib.Path) -> pathlib.Path:
  """Returns the file of a program, which a folder may contain."""
  if path.is_dir():
    for name in _NAMES:
      if (path / name).is_file():
        return path / name
    raise FileNotFoundError(f'{path} has neither {" nor ".join(_NAMES)}.')
  if path.suffix[1:] not in standalone_runtime.OPEN:
    raise ValueError(
      f'{path} is not a program: expected {" or ".join(_NAMES)} of '
      '--mode=export, or the run itself.'
    )
  return path
