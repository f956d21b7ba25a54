# SPDX-License-Identifier: Apache-2.0
"""The file that `make lint` gives to mypy covers the public API."""

import pathlib
import re

import flatten_jax as fj


def test_every_public_function_is_type_checked():
  text = (pathlib.Path(__file__).parent / 'typing_api.py').read_text()
  assert set(re.findall(r'\bfj\.(\w+)', text)) == set(fj.__all__)
