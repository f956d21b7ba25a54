# SPDX-License-Identifier: Apache-2.0
"""Runs exported models without this package.

  python standalone_runtime.py FOLDER clips.npz logits.npz

`clips.npz` holds arrays of clips, uint8 [B T s s 3]; `logits.npz` gets the
logits of every array by every program in FOLDER, as 'stablehlo/<name>' and
'onnx/<name>'. The file imports nothing of this package: copy what you need.
"""

from collections.abc import Callable
import pathlib
import sys

import numpy as np

Program = Callable[[np.ndarray], np.ndarray]


def open_stablehlo(path: pathlib.Path) -> Program:
  """Opens model.stablehlo; needs only jax."""
  from jax import export

  program = export.deserialize(path.read_bytes())
  return lambda clips: np.asarray(program.call(clips))


def open_onnx(path: pathlib.Path) -> Program:
  """Opens model.onnx; needs only onnxruntime."""
  import onnxruntime

  providers = ['CPUExecutionProvider']
  session = onnxruntime.InferenceSession(str(path), providers=providers)
  return lambda clips: session.run(['logits'], {'clips': clips})[0]


OPEN = {'stablehlo': open_stablehlo, 'onnx': open_onnx}


def main(folder: str, clips_file: str, logits_file: str) -> None:
  """Runs every program of a folder on every array of clips."""
  sys.modules['flatten_jax'] = sys.modules['flax'] = None  # Not to be imported.
  logits = {}
  for kind, open_program in OPEN.items():
    path = pathlib.Path(folder) / f'model.{kind}'
    if path.exists():
      program = open_program(path)
      with np.load(clips_file) as clips:
        for name in clips.files:
          logits[f'{kind}/{name}'] = program(clips[name])
  np.savez(logits_file, **logits)


if __name__ == '__main__':
  main(*sys.argv[1:])
