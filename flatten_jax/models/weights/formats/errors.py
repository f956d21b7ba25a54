# SPDX-License-Identifier: Apache-2.0
"""Shared by all readers: files, and tensors, that hold something else."""

import dataclasses


class UnsuitableFileError(ValueError):
  """A file that is intact, but not one of weights; the text says what it is."""


@dataclasses.dataclass
class Unreadable:
  """A tensor that is not an array of plain numbers; `kind` says what it is."""

  kind: str
