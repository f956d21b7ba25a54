# SPDX-License-Identifier: Apache-2.0
"""Exports trained models as StableHLO, ONNX and safetensors.

Each file is checked: programs are run in a process without this package,
weights are loaded again by the strict reader.
"""

from collections.abc import Sequence
import dataclasses
import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile

from flax import nnx
import numpy as np

from flatten_jax import paths
from flatten_jax.checkpoints.load import load_config, load_model
from flatten_jax.exporting import (
  metadata,
  onnx_file,
  program,
  standalone_runtime,
)
from flatten_jax.models import export_torch, load_torch
from flatten_jax.runtime.loaded_model import LoadedModel
from flatten_jax.runtime.model_factory import build_model
from flatten_jax.runtime.state import split
from flatten_jax.runtime.workdir import run_log
from flatten_jax.text import did_you_mean

log = logging.getLogger('flatten_jax')

FORMATS = ('stablehlo', 'safetensors', 'onnx')
TOLERANCE = 1e-5  # Largest difference of logits before a warning.


def export(
  workdir: str | pathlib.Path,
  out: str | pathlib.Path | None = None,
  formats: Sequence[str] = (),
) -> dict[str, float]:
  """Exports the model of `workdir`, and checks the files.

  Writes metadata.json (class names, sampling, mean, layout, config, versions)
  and

    model.stablehlo    clips -> logits for `jax.export.deserialize`, on CPU,
                       CUDA and TPU; needs only jax
    model.onnx         the same for onnxruntime and others
    model.safetensors  weights under their official PyTorch names

  The first two take uint8 clips [b T s s 3] for any b; normalization and layout
  are inside. The layout 'random' is one fixed order.

  Args:
    workdir: of a training run.
    out: `workdir`/export by default. Replaces an earlier export.
    formats: some of FORMATS; by default all that this model and environment can
      write, and the log has the reason for each that is missing.

  Returns:
    Format -> largest difference of a logit on clips of noise between the file
    and the model.

  Raises:
    FileNotFoundError: `workdir` contains no checkpoint.
    ValueError: a format is unknown, or the model has no official names.
    RuntimeError: the packages for ONNX are requested and not installed.
  """
  formats = [formats] if isinstance(formats, str) else formats
  formats = [kind.lower() for kind in formats]
  if unknown := set(formats) - set(FORMATS):
    raise ValueError(
      f'Cannot export as {", ".join(sorted(unknown))}.'
      f'{did_you_mean(min(unknown), FORMATS)} Formats are {", ".join(FORMATS)}.'
    )
  config = load_config(workdir)
  config.eval_frame_order = 'forward'  # The others are tests of a model.
  model = load_model(workdir, config)
  folder = paths.expand(out or paths.expand(workdir) / 'export')
  folder.mkdir(parents=True, exist_ok=True)
  run_log.start(folder)
  described = metadata.describe(model)
  text = json.dumps(described, indent=2)
  (folder / 'metadata.json').write_text(text + '\n')
  written = []
  for kind in FORMATS:
    path = folder / f'model.{kind}'
    path.unlink(missing_ok=True)
    try:
      if kind in (formats or FORMATS):
        log.info('Writing %s', path.name)
        _write(kind, model, path, {'flatten_jax': json.dumps(described)})
        written.append(kind)
    except (RuntimeError, ValueError) as error:
      if formats or kind == 'stablehlo':
        raise
      log.info('No %s: %s', path.name, str(error).partition('\n')[0])
  return _compare(model, folder, written)


def _write(
  kind: str, model: LoadedModel, path: pathlib.Path, properties: dict[str, str]
) -> None:
  """Writes one of FORMATS."""
  if kind == 'stablehlo':
    path.write_bytes(program.to_stablehlo(model))
  elif kind == 'onnx':
    function, clips = program.program(model), program.symbolic_clips(model)
    onnx_file.write(function, clips, path, properties)
  else:
    export_torch(model.module, path, metadata=properties)


def _compare(
  model: LoadedModel, folder: pathlib.Path, written: Sequence[str]
) -> dict[str, float]:
  """Returns format -> largest difference of a logit from --mode=evaluate."""
  rng = np.random.default_rng(0)
  clips = {  # Two batch sizes, since the exported batch size is symbolic.
    name: rng.integers(0, 256, (count, *program.clip_shape(model)), np.uint8)
    for name, count in (('one', 1), ('two', 2))
  }
  ours = {
    name: program.reference_logits(model, values)
    for name, values in clips.items()
  }
  log.info('Running what was written, to compare')
  theirs = _run_standalone(folder, clips)
  if 'safetensors' in written:
    filled = _filled(model, folder / 'model.safetensors')
    theirs['safetensors/two'] = program.reference_logits(filled, clips['two'])
  tolerance = TOLERANCE * max(1.0, *(np.abs(x).max() for x in ours.values()))
  differences = {}
  for kind in written:
    worst = [
      np.abs(logits - ours[key.partition('/')[2]]).max()
      for key, logits in theirs.items()
      if key.startswith(f'{kind}/')
    ]
    differences[kind] = difference = float(np.max(worst))
    path = folder / f'model.{kind}'
    size = path.stat().st_size / 1e6
    text = '%-18s %7.1f MB   logits differ from ours by %.1e'
    log.info(text, path.name, size, difference)
    if not difference <= tolerance:
      log.warning('%s differs by more than %g', path, tolerance)
  log.info('Class names, sampling and layout are in %s', folder)
  return differences


def _run_standalone(
  folder: pathlib.Path, clips: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Runs the programs in `folder` in a process without this package, on CPU.

  Returns:
    Logits by 'stablehlo/one', 'onnx/two' and so on.
  """
  with tempfile.TemporaryDirectory() as scratch:
    inputs, outputs = f'{scratch}/clips.npz', f'{scratch}/logits.npz'
    np.savez(inputs, **clips)
    script = standalone_runtime.__file__
    done = subprocess.run(
      [sys.executable, '-I', script, str(folder), inputs, outputs],
      env=os.environ | {'JAX_PLATFORMS': 'cpu'},
      capture_output=True,
      text=True,
      check=False,
    )
    if done.returncode:
      last = (done.stderr.strip() or 'no message').splitlines()[-1]
      raise RuntimeError(f'The exported files in {folder} do not run: {last}')
    with np.load(outputs) as logits:
      return dict(logits)


def _filled(model: LoadedModel, path: pathlib.Path) -> LoadedModel:
  """Returns the model with the weights of a file."""
  count = len(model.class_names)
  module = nnx.eval_shape(lambda: build_model(model.config, count))
  load_torch(module, path)
  _, params, batch_stats = split(module)
  return dataclasses.replace(model, params=params, batch_stats=batch_stats)
