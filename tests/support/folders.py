# SPDX-License-Identifier: Apache-2.0
"""Folders of files that are not part of the project; tests skip without."""

import os
import pathlib

_SHARED = pathlib.Path(__file__).resolve().parents[3] / 'shared'
REAL_CLIPS = pathlib.Path(
  os.environ.get('FLATTEN_JAX_CLIPS', _SHARED / 'clips')
)
PARITY = pathlib.Path(
  os.environ.get('FLATTEN_JAX_PARITY', _SHARED / 'reference' / 'parity')
)
PHOTOS = pathlib.Path(os.environ.get('FLATTEN_JAX_PHOTOS', _SHARED / 'photos'))
