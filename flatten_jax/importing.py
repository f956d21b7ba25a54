# SPDX-License-Identifier: Apache-2.0
"""Imports functions that a config names, as 'package.module:function'."""

from collections.abc import Callable
import importlib
from typing import Any


def is_path(name: object) -> bool:
  """Returns whether a name has the form 'package.module:function'."""
  return isinstance(name, str) and ':' in name


def import_function(path: str, kind: str) -> Callable[..., Any]:
  """Imports a function, also from the current folder.

  Args:
    path: 'package.module:function'.
    kind: of the function, for the error: 'model' or 'layout'.

  Raises:
    ValueError: there is no such module or function.
  """
  module_name, _, name = path.partition(':')
  wrong = f'The {kind} {path!r} should be package.module:function, but'
  try:
    module = importlib.import_module(module_name)
  except ModuleNotFoundError as error:
    raise ValueError(f'{wrong} {error.name!r} cannot be imported.') from error
  if not callable(function := getattr(module, name, None)):
    raise ValueError(f'{wrong} {module_name} has no function {name!r}.')
  return function
