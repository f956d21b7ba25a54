# SPDX-License-Identifier: Apache-2.0
"""Reads pickles of numpy arrays, safely: Caffe2's files, of PySlowFast's zoo.

A pickle may call any function; this reader calls the few that build arrays, and
refuses all others by name.
"""

import pathlib
import pickle
from typing import Any

import numpy as np

from flatten_jax.models.weights.formats.errors import UnsuitableFileError


def _latin1(text: str, encoding: str = 'latin1') -> bytes:
  """Returns the bytes that Python 3 writes as text in protocol 2."""
  return text.encode('latin1')


_MAKE_ARRAY = np.empty(0).__reduce__()[0]
_KNOWN = {
  'numpy.core.multiarray._reconstruct': _MAKE_ARRAY,
  'numpy._core.multiarray._reconstruct': _MAKE_ARRAY,
  'numpy.ndarray': np.ndarray,
  'numpy.dtype': np.dtype,
  '_codecs.encode': _latin1,
}


class _ArrayUnpickler(pickle.Unpickler):
  """An unpickler that builds only containers and arrays."""

  def find_class(self, module: str, name: str) -> object:
    """Returns what builds an array.

    Raises:
      UnsuitableFileError: the pickle asks for anything else.
    """
    if known := _KNOWN.get(f'{module}.{name}'):
      return known
    raise UnsuitableFileError(
      f'is a pickle that asks for {module}.{name}; only those of plain numpy '
      'arrays are read. Load it where it was made, and save it again, best as '
      'safetensors.'
    )


def read(path: pathlib.Path) -> Any:
  """Returns the content of a pickle, with numpy arrays.

  Byte strings of Python 2, which wrote most of these files, become text.

  Raises:
    UnsuitableFileError: the pickle holds other objects.
  """
  with path.open('rb') as file:
    return _ArrayUnpickler(file, encoding='latin1').load()
