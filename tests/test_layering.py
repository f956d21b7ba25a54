# SPDX-License-Identifier: Apache-2.0
"""Who imports whom; plug-and-play is a property of the source."""

import ast
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
ALLOWED = {'data': 'flatten_jax.inputs'}


def imports(file: pathlib.Path) -> set[str]:
  names = set()
  for node in ast.walk(ast.parse(file.read_text())):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      names.add(node.module)
      names |= {f'{node.module}.{alias.name}' for alias in node.names}
  return names


@pytest.mark.parametrize('folder', FORBIDDEN)
def test_arrows_point_one_way(folder):
  for file in (ROOT / folder).rglob('*.py'):
    for name in imports(file):
      for forbidden in FORBIDDEN[folder]:
        allowed = folder in ALLOWED and inside(name, ALLOWED[folder])
        assert allowed or not inside(name, forbidden), f'{file} imports {name}'


def inside(name: str, package: str) -> bool:
  return name == package or name.startswith(package + '.')


@pytest.mark.parametrize(
  ('module', 'absent'),
  [
    ('main', ['jax', 'matplotlib']),
    ('flatten_jax', ['jax', 'tensorflow', 'torch', 'cv2']),
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
