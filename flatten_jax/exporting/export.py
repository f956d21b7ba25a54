# SPDX-License-Identifier: Apache-2.0
"""Exports trained models as StableHLO, ONNX and safetensors.

Each file is checked by itself: programs are run in a process without this
package, weights are loaded again by the strict reader.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
import contextlib
import dataclasses
import fcntl
import functools
import json
import logging
import os
import pathlib
import shutil
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
from flatten_jax.exporting.exported_model import METADATA
from flatten_jax.models import export_torch, load_torch
from flatten_jax.runtime import portable
from flatten_jax.runtime.loaded_model import LoadedModel
from flatten_jax.runtime.model_factory import build_model
from flatten_jax.runtime.state import split
from flatten_jax.runtime.workdir import run_log
from flatten_jax.text import did_you_mean

log = logging.getLogger('flatten_jax')

FORMATS = ('stablehlo', 'safetensors', 'onnx')
TOLERANCE = 1e-5  # Largest difference of logits before a warning, in float32.
_UNCHECKED = '.unchecked_'  # Begins the name of a folder of files being made.


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
  ('random' is one fixed order) are inside. Nothing in the folder changes before
  the files are checked, which then replace those of an earlier export. Its
  other formats stay if metadata.json is the same as before; else it would
  describe them wrongly, and they are removed.

  Args:
    workdir: of a training run.
    out: `workdir`/export by default; a new folder, or one of an export.
    formats: some of FORMATS; by default all that can be written, and the log
      has the reason for each that is missing.

  Returns:
    Format -> largest difference of a logit on clips of noise between the file
    and the model, for ONNX the model in float32.

  Raises:
    FileNotFoundError: `workdir` contains no checkpoint.
    ValueError: a format is unknown, or `out` has a model that is not of an
      export.
    RuntimeError: a requested format, or each, cannot be written or run. Others
      are written first, unless an earlier file would have to be removed.
  """
  formats = [formats] if isinstance(formats, str) else formats
  formats = [kind.lower() for kind in formats]
  if unknown := set(formats) - set(FORMATS):
    raise ValueError(
      f'Cannot export as {", ".join(sorted(unknown))}.'
      f'{did_you_mean(min(unknown), FORMATS)} Formats are {", ".join(FORMATS)}.'
    )
  folder = paths.expand(out or paths.expand(workdir) / 'export')
  _check_out(folder)
  config = load_config(workdir)
  config.eval_frame_order = 'forward'  # The others are tests of a model.
  model = load_model(workdir, config)
  folder.mkdir(parents=True, exist_ok=True)
  run_log.start(folder)
  described = metadata.describe(model)
  text = json.dumps(described, indent=2) + '\n'
  properties = {'flatten_jax': json.dumps(described)}
  differences, failures, reference = {}, {}, functools.cache(_reference)
  with _scratch_folder(folder) as scratch:
    for kind in (kind for kind in FORMATS if kind in (formats or FORMATS)):
      log.info('Writing model.%s, and running it to compare', kind)
      try:
        # In folders of their own, since all programs of a folder are run.
        (scratch / kind).mkdir()
        path = _file(scratch / kind, kind)
        differences[kind] = _write(kind, model, path, properties, reference)
      except Exception as error:  # Converters raise anything.
        failures[kind] = error
        missing = isinstance(error.__cause__, ImportError)
        write = log.info if missing else log.warning
        write('No model.%s: %s', kind, manager.first_line(error))
    outdated = _outdated(folder, text, differences)
    failed = failures and (formats or not differences)
    if not failed or (differences and not outdated):
      _put_in_place(scratch, folder, text, differences)
      for path in outdated:
        log.info('Removing %s of an earlier export', path.name)
        path.unlink()
  if failed:
    lines = (
      f'model.{kind}: {manager.first_line(error)}'
      for kind, error in failures.items()
    )
    cause = next(iter(failures.values()))
    kept = '. The folder has the files of before.' if outdated else ''
    raise RuntimeError(
      f'Not exported to {folder}: ' + '; '.join(lines) + kept
    ) from cause
  log.info('Class names, sampling and layout are in %s', folder)
  return differences


def _put_in_place(
  scratch: pathlib.Path,
  folder: pathlib.Path,
  text: str,
  written: Collection[str],
) -> None:
  """Moves metadata.json, with `text`, and checked files to their names."""
  (scratch / METADATA).write_text(text)
  os.replace(scratch / METADATA, folder / METADATA)
  for kind in written:
    os.replace(_file(scratch / kind, kind), _file(folder, kind))


def _check_out(folder: pathlib.Path) -> None:
  """Refuses a folder with files that no export has written."""
  if portable.is_model(folder):
    raise ValueError(
      f'{folder} is a model that was pushed, whose weights an export would '
      'replace. Name another folder: --out=FOLDER'
    )
  files = (folder / METADATA, *(_file(folder, kind) for kind in FORMATS))
  there = [path.name for path in files if path.exists()]
  if there and not metadata.is_of_export(folder / METADATA):
    raise ValueError(
      f'{folder} contains {", ".join(there)}, which no export has written. '
      'Name another folder: --out=FOLDER'
    )


@contextlib.contextmanager
def _scratch_folder(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a hidden folder in `folder`; removes those of killed processes."""
  for old in folder.glob(f'{_UNCHECKED}*'):
    with _locked(old) as held:
      if held:
        shutil.rmtree(old)
  with tempfile.TemporaryDirectory(prefix=_UNCHECKED, dir=folder) as scratch:
    path = pathlib.Path(scratch)
    with _locked(path):
      yield path


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[bool]:
  """Locks a folder; the kernel unlocks it when the process ends in any way.

  Yields whether it is locked: not if another process holds it, nor on a file
  system without locks.
  """
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    held = True
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
      held = False
    yield held
  finally:
    os.close(descriptor)


def _file(folder: pathlib.Path, kind: str) -> pathlib.Path:
  """Returns the file of one of FORMATS."""
  return folder / f'model.{kind}'


def _outdated(
  folder: pathlib.Path, text: str, written: Collection[str]
) -> list[pathlib.Path]:
  """Returns the files of an earlier export that metadata.json misdescribes.

  Args:
    folder: of the exports.
    text: of the new metadata.json.
    written: those of FORMATS that are replaced.
  """
  old = folder / METADATA
  if not old.exists() or old.read_text() == text:
    return []
  others = (_file(folder, kind) for kind in FORMATS if kind not in written)
  return [path for path in others if path.exists()]


def _write(
  kind: str,
  model: LoadedModel,
  path: pathlib.Path,
  properties: dict[str, str],
  reference: Callable[[LoadedModel], tuple[dict, dict]],
) -> float:
  """Writes one of FORMATS and checks it; returns `_compare`'s result."""
  if kind == 'onnx':
    model = program.in_float32(model)  # ONNX Runtime has few 16-bit kernels.
  if kind == 'stablehlo':
    path.write_bytes(program.to_stablehlo(model))
  elif kind == 'onnx':
    function, clips = program.program(model), program.symbolic_clips(model)
    onnx_file.write(function, clips, path, properties)
  else:
    export_torch(model.module, path, metadata=properties)
  difference = _compare(kind, model, path, reference(model))
  size = path.stat().st_size / 1e6
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
