# SPDX-License-Identifier: Apache-2.0
"""Reads networks of MatConvNet: .mat files, with layers in a row.

Their mean image is not read: models here subtract a mean color.
"""

import pathlib

import numpy as np

from flatten_jax.models.weights.formats.errors import UnsuitableFileError

START = b'MATLAB '


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Returns `layer.weight` and `layer.bias`, in PyTorch's axes.

  A linear layer is a convolution there; one called `fc...` becomes a matrix.

  Raises:
    UnsuitableFileError: MATLAB wrote it in HDF5, or it holds something else.
  """
  from scipy import io  # Imported only if needed.

  try:
    content = io.loadmat(path, simplify_cells=True)
  except NotImplementedError as error:
    raise UnsuitableFileError(
      "is of MATLAB 7.3, in HDF5. In MATLAB: save(..., '-v7')"
    ) from error
  network = content.get('net', content)
  layers = network.get('layers') if isinstance(network, dict) else None
  if layers is None or isinstance(layers, dict):
    raise UnsuitableFileError("holds no `layers` in a row: MatConvNet's DAGs.")
  tensors = {}
  for layer in layers:
    # The second is the form of before 2015.
    values = layer.get('weights', [layer.get(k) for k in ('filters', 'biases')])
    if len(values) == 2 and values[0] is not None:
      name, (kernel, bias) = layer['name'], values
      tensors[f'{name}.weight'] = _kernel(name, kernel)
      tensors[f'{name}.bias'] = np.reshape(bias, -1)
  return tensors


def _kernel(name: str, value: np.ndarray) -> np.ndarray:
  """Converts filters. [H W C K], or [C K] if H and W are 1."""
  value = np.moveaxis(value, (-1, -2), (0, 1))
  return value.reshape(len(value), -1) if name.startswith('fc') else value
