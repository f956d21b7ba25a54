# SPDX-License-Identifier: Apache-2.0
"""Exports trained models as StableHLO, ONNX and safetensors.

Each file is checked by itself: programs are run in a process without this
package, weights are loaded again by the strict reader.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile

from flax import nnx
import jax.numpy as jnp
import numpy as np

from flatten_jax import paths
from flatten_jax.checkpoints import manager
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
TOLERANCE = 1e-5  # Largest difference of logits before a warning, in float32.


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
    model.onnx         the same for onnxruntime and others; computes in float32
    model.safetensors  weights under their official PyTorch names

  The first two take uint8 clips [b T s s 3] for any b; normalization and layout
  ('random' is one fixed order) are inside. A file appears once it is checked.

  Args:
    workdir: of a training run.
    out: `workdir`/export by default. Replaces an earlier export.
    formats: some of FORMATS; by default all that can be written, and the log
      has the reason for each that is missing.

  Returns:
    Format -> largest difference of a logit on clips of noise between the file
    and the model, for ONNX the model in float32.

  Raises:
    FileNotFoundError: `workdir` contains no checkpoint.
    ValueError: a format is unknown.
    RuntimeError: a requested format, or each, cannot be written or run; others
      are written first.
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
  for kind in FORMATS:
    (folder / f'model.{kind}').unlink(missing_ok=True)
  properties = {'flatten_jax': json.dumps(described)}
  differences, failures, reference = {}, {}, functools.cache(_reference)
  for kind in (kind for kind in FORMATS if kind in (formats or FORMATS)):
    log.info('Writing model.%s, and running it to compare', kind)
    try:
      differences[kind] = _write(kind, model, folder, properties, reference)
    except Exception as error:  # Converters raise anything.
      failures[kind] = error
      missing = isinstance(error.__cause__, ImportError)
      write = log.info if missing else log.warning
      write('No model.%s: %s', kind, manager.first_line(error))
  log.info('Class names, sampling and layout are in %s', folder)
  if failures and (formats or not differences):
    lines = (
      f'model.{kind}: {manager.first_line(error)}'
      for kind, error in failures.items()
    )
    cause = next(iter(failures.values()))
    raise RuntimeError(
      f'Not exported to {folder}: ' + '; '.join(lines)
    ) from cause
  return differences


def _write(
  kind: str,
  model: LoadedModel,
  folder: pathlib.Path,
  properties: dict[str, str],
  reference: Callable[[LoadedModel], tuple[dict, dict]],
) -> float:
  """Writes one of FORMATS once it is checked; returns `_compare`'s result."""
  if kind == 'onnx':
    model = program.in_float32(model)  # ONNX Runtime has few 16-bit kernels.
  with tempfile.TemporaryDirectory(prefix='.unchecked_', dir=folder) as scratch:
    path = pathlib.Path(scratch) / f'model.{kind}'
    if kind == 'stablehlo':
      path.write_bytes(program.to_stablehlo(model))
    elif kind == 'onnx':
      function, clips = program.program(model), program.symbolic_clips(model)
      onnx_file.write(function, clips, path, properties)
    else:
      export_torch(model.module, path, metadata=properties)
    difference = _compare(kind, model, path, reference(model))
    size = path.stat().st_size / 1e6
    os.replace(path, folder / path.name)
  ours = 'ours in float32' if kind == 'onnx' else 'ours'
  text = '%-18s %7.1f MB   logits differ from %s by %.1e'
  log.info(text, path.name, size, ours, difference)
  return difference


def _reference(model: LoadedModel) -> tuple[dict, dict]:
  """Returns clips of noise, and logits that --mode=evaluate computes of them.

  Two batch sizes, since the exported batch size is symbolic.
  """
  rng, shape = np.random.default_rng(0), program.clip_shape(model)
  clips = {
    name: rng.integers(0, 256, (count, *shape), np.uint8)
    for name, count in (('one', 1), ('two', 2))
  }
  logits = {k: program.reference_logits(model, x) for k, x in clips.items()}
  return clips, logits


def _compare(
  kind: str, model: LoadedModel, path: pathlib.Path, reference: tuple
) -> float:
  """Returns the largest difference of a logit; warns of a large one."""
  clips, ours = reference
  if kind == 'safetensors':
    filled = _filled(model, path)
    theirs = {'two': program.reference_logits(filled, clips['two'])}
  else:
    theirs = _run_standalone(kind, path, clips)
  difference = float(
    np.max([np.abs(theirs[name] - ours[name]).max() for name in theirs])
  )
  largest = max(1.0, *(np.abs(logits).max() for logits in ours.values()))
  precision = float(jnp.finfo(model.config.model.dtype).eps)
  tolerance = largest * max(TOLERANCE, 4 * precision)
  if not difference <= tolerance:
    text = '%s differs by %g, more than %g'
    log.warning(text, path.name, difference, tolerance)
  return difference


def _run_standalone(
  kind: str, path: pathlib.Path, clips: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Returns a program's logits, run on CPU without this package."""
  with tempfile.TemporaryDirectory() as scratch:
    inputs, outputs = f'{scratch}/clips.npz', f'{scratch}/logits.npz'
    np.savez(inputs, **clips)
    script = standalone_runtime.__file__
    done = subprocess.run(
      isolated_command(script, str(path.parent), inputs, outputs),
      env=os.environ | {'JAX_PLATFORMS': 'cpu'},
      capture_output=True,
      text=True,
      check=False,
    )
    if done.returncode:
      text = done.stderr.strip() or f'exit status {done.returncode}'
      raise RuntimeError(f'it does not run: {text.splitlines()[-1]}')
    with np.load(outputs) as logits:
      return {name: logits[f'{kind}/{name}'] for name in clips}


def isolated_command(script: str | pathlib.Path, *args: str) -> list[str]:
  """Returns a command that runs a script with the packages of this process.

  `-I` keeps the current folder out, but also the packages of the user and of
  PYTHONPATH; so the search path is passed as it is.
  """
  start = (
    f'import runpy, sys; sys.path = {sys.path!r}; del sys.argv[0]; '
    "runpy.run_path(sys.argv[0], run_name='__main__')"
  )
  return [sys.executable, '-I', '-c', start, str(script), *args]


def _filled(model: LoadedModel, path: pathlib.Path) -> LoadedModel:
  """Returns the model with the weights of a file."""
  count = len(model.class_names)
  module = nnx.eval_shape(lambda: build_model(model.config, count))
  load_torch(module, path)
  _, params, batch_stats = split(module)
  return dataclasses.replace(model, params=params, batch_stats=batch_stats)
