# SPDX-License-Identifier: Apache-2.0
"""Adds configs/ to the package, as flatten_jax.configs; see pyproject.toml."""

from setuptools import find_packages, setup

setup(
  packages=[*find_packages(include=['flatten_jax*']), 'flatten_jax.configs'],
  package_dir={'flatten_jax.configs': 'configs'},
)
