# SPDX-License-Identifier: Apache-2.0
"""Imports point one way; plug-and-play is a property of the source."""

import ast
import functools
import graphlib
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
FORBIDDEN = {
  # An unmodified image model never learns that there is video.
  'flatten_jax/models': ['flatten_jax.flattening', 'flatten_jax.inputs'],
  # Processes that decode start fast and never touch a device.
  'flatten_jax/inputs': ['jax', 'flax', 'flatten_jax.models', 'tensorflow'],
  'flatten_jax': ['tensorflow', 'torchvision', 'configs', 'data', 'tests'],
  'configs': ['jax'],
  'data': ['flatten_jax', 'configs', 'jax', 'tensorflow'],
}
ALLOWED = {
  'data': ('flatten_jax.inputs', 'flatten_jax.paths', 'flatten_jax.progress')
}


@functools.cache
def imports(file: pathlib.Path) -> set[str]:
  names = set()
  for node in ast.walk(ast.parse(file.read_text())):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      names.add(node.module)
      names |= {f'{node.module}.{alias.name}' for alias in node.names}
  return names


# The folders and modules of flatten_jax from the ground up; each imports from
# rows above its own, or from itself.
LAYERS = (
  {'importing', 'paths', 'progress', 'text'},
  {'hub'},
  {'flattening', 'inputs', 'models'},
  {'runtime'},
  {'checkpoints'},
  {'evaluation'},
  {'exporting', 'prediction', 'training'},
  {'compiling', 'explanation', 'profiling'},
  {'reporting'},
  {'demo', 'experiments', 'publishing'},
  {'command_line'},
  {'__main__'},
)


@functools.cache
def modules() -> dict[str, pathlib.Path]:
  """Every module of the package by its dotted name, without 'flatten_jax.'."""
  root = ROOT / 'flatten_jax'
  files = {
    file.relative_to(root).with_suffix('') for file in root.rglob('*.py')
  }
  return {
    '.'.join(path.parts).removesuffix('.__init__'): root / f'{path}.py'
    for path in files
    if path.name != '__init__' or len(path.parts) > 1
  }


def internal_imports(file: pathlib.Path) -> set[str]:
  """The modules of the package that a file imports, anywhere in it."""
  known = modules()
  names = {name.removeprefix('flatten_jax.') for name in imports(file)}
  return {name for name in names if name in known}


def test_every_import_points_down():
  ranks = {name: rank for rank, names in enumerate(LAYERS) for name in names}
  for name, file in modules().items():
    own = name.partition('.')[0]
    for other in internal_imports(file):
      layer = other.partition('.')[0]
      assert layer == own or ranks[layer] < ranks[own], f'{file}: {other}'


def test_there_is_no_import_circle():
  graph = {name: internal_imports(file) for name, file in modules().items()}
  # `from package import module` names the package too; that is not a circle.
  graph = {
    name: {o for o in others if not name.startswith(f'{o}.')}
    for name, others in graph.items()
  }
  tuple(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize('folder', FORBIDDEN)
def test_arrows_point_one_way(folder):
  for file in (ROOT / folder).rglob('*.py'):
    for name in imports(file):
      for forbidden in FORBIDDEN[folder]:
        allowed = any(inside(name, own) for own in ALLOWED.get(folder, ()))
        assert allowed or not inside(name, forbidden), f'{file} imports {name}'


def inside(name: str, package: str) -> bool:
  return name == package or name.startswith(package + '.')


@pytest.mark.parametrize(
  ('module', 'absent'),
  [
    ('main', ['jax', 'matplotlib']),
    ('flatten_jax', ['jax', 'tensorflow', 'torch', 'cv2', 'gradio']),
    ('flatten_jax.demo.server', ['gradio', 'tensorflow', 'torch']),
    ('flatten_jax.inputs.video.read', ['jax', 'grain', 'tensorflow']),
    ('data.prepare', ['jax', 'grain', 'tensorflow']),
    (
      'flatten_jax.inputs.synthetic.motion_clips',
      ['jax', 'grain', 'tensorflow'],
    ),
    # Grain itself imports jax.
    ('flatten_jax.inputs.pipeline', ['tensorflow', 'torch']),
    ('flatten_jax.training.loop', ['tensorflow', 'torch', 'matplotlib']),
  ],
)
def test_an_import_brings_in_no_more_than_it_needs(module, absent):
  code = (
    f'import sys, {module}\n'
    f'found = [m for m in {absent} if m in sys.modules]\n'
    'assert not found, found'
  )
  subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=True)


def test_every_public_name_is_there():
  import flatten_jax as fj

  for name in fj.__all__:
    assert callable(getattr(fj, name)), name
    assert getattr(fj, name).__doc__, name
  with pytest.raises(AttributeError, match='no_such_name'):
    fj.no_such_name  # noqa: B018
