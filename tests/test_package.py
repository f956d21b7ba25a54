# SPDX-License-Identifier: Apache-2.0
"""The contents of the wheel and the sdist, and the cost of an import."""

import pathlib
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


def run(code, folder, *options):
  """Runs Python code in a process of its own. -> what it prints."""
  done = subprocess.run(
    [sys.executable, *options, '-c', code],
    cwd=folder,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout


@pytest.fixture(scope='module')
def built(tmp_path_factory):
  """The wheel and the sdist, built offline from a copy."""
  # Older ones do not know licences by their SPDX names.
  pytest.importorskip('setuptools', minversion='77')
  source = tmp_path_factory.mktemp('source')
  for name in (
    'pyproject.toml',
    'setup.py',
    'MANIFEST.in',
    'README.md',
    'LICENSE',
  ):
    shutil.copy(ROOT / name, source)
  for name in ('flatten_jax', 'configs', 'data', 'tests'):
    ignored = shutil.ignore_patterns('__pycache__', '*.npz', '*.pth')
    shutil.copytree(ROOT / name, source / name, ignore=ignored)
  code = """
from setuptools import build_meta
build_meta.build_wheel('dist')
build_meta.build_sdist('dist')
"""
  run(code, source)
  (wheel,) = (source / 'dist').glob('*.whl')
  (sdist,) = (source / 'dist').glob('*.tar.gz')
  return wheel, sdist


def files_of(folder):
  """Every file in a folder of the repository, by its path from the root."""
  return {
    str(file.relative_to(ROOT))
    for file in (ROOT / folder).rglob('*')
    if file.is_file() and '__pycache__' not in file.parts
  }


def test_the_wheel_holds_the_package_with_its_configs_and_nothing_else(built):
  with zipfile.ZipFile(built[0]) as wheel:
    names = {n for n in wheel.namelist() if '.dist-info/' not in n}
    (metadata,) = (n for n in wheel.namelist() if n.endswith('/METADATA'))
    text = wheel.read(metadata).decode()
    (scripts,) = (n for n in wheel.namelist() if n.endswith('entry_points.txt'))
    assert 'flatten-jax = ' in wheel.read(scripts).decode()
  configs = {f'flatten_jax/{name}' for name in files_of('configs')}
  assert names == files_of('flatten_jax') | configs
  assert 'License-Expression: Apache-2.0' in text
  assert 'Provides-Extra: onnx' in text


def test_the_sdist_builds_that_wheel_and_brings_no_tests(built):
  with tarfile.open(built[1]) as sdist:
    names = {name.partition('/')[2] for name in sdist.getnames()}
  project = {'pyproject.toml', 'setup.py', 'README.md', 'LICENSE'}
  assert files_of('flatten_jax') | files_of('configs') | project <= names
  folders = {name.partition('/')[0] for name in names if '/' in name}
  assert folders <= {'configs', 'flatten_jax', 'flatten_jax.egg-info'}


def test_what_was_installed_is_imported_from_elsewhere(built, tmp_path):
  with zipfile.ZipFile(built[0]) as wheel:
    wheel.extractall(tmp_path)
  code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import flatten_jax as fj
assert fj.__file__.startswith({str(tmp_path)!r}), fj.__file__
import importlib.resources
assert importlib.resources.files(fj).joinpath('py.typed').is_file()
print(fj.flatten(__import__('numpy').zeros((9, 2, 2, 3))).shape)
"""
  assert run(code, tmp_path, '-I').strip() == '(6, 6, 3)'


def test_an_installed_package_finds_its_configs_by_name(built, tmp_path):
  with zipfile.ZipFile(built[0]) as wheel:
    wheel.extractall(tmp_path)
  code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
sys.argv = ['flatten-jax', '--mode=cost', '--config=k400_uniformer_s:frames=9']
from flatten_jax import command_line
command_line.main()
"""
  assert 'This config' in run(code, tmp_path, '-I')
  done = subprocess.run(
    [sys.executable, '-m', 'flatten_jax', '--help'],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout.startswith('python -m flatten_jax MODE')


def test_an_import_takes_less_than_two_seconds_and_no_large_library():
  code = """
import sys, time
start = time.process_time()
import flatten_jax as fj
assert set(fj.__all__) <= set(dir(fj))
print(time.process_time() - start)
large = {'tensorflow', 'torch', 'jax', 'matplotlib', 'cv2', 'av', 'tkinter'}
print(large & sys.modules.keys())
fj.flatten, fj.create_model, fj.train_and_evaluate, fj.evaluate
print({'tensorflow', 'torch', 'tkinter'} & sys.modules.keys())
"""
  seconds, at_once, with_use = run(code, ROOT).splitlines()
  assert float(seconds) < 2
  assert at_once == with_use == 'set()'


def test_on_windows_an_import_names_the_systems_that_it_runs_on():
  code = "import sys; sys.platform = 'win32'; import flatten_jax"
  with pytest.raises(AssertionError, match=r'Linux and macOS.*WSL'):
    run(code, ROOT)


def test_every_range_has_both_ends_and_holds_the_pinned_version():
  requirements = pytest.importorskip('packaging.requirements')
  project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
  ranges = {}
  for group in (
    project['dependencies'],
    *project['optional-dependencies'].values(),
  ):
    for line in group:
      requirement = requirements.Requirement(line)
      ranges.setdefault(requirement.name, requirement.specifier)
      operators = {part.operator for part in requirement.specifier}
      assert operators in ({'>=', '<'}, {'=='}), line
  for name in ('requirements.txt', 'requirements-dev.txt'):
    for line in (ROOT / name).read_text().splitlines():
      if line and not line.startswith(('#', '-r')):
        pinned = requirements.Requirement(line)
        (version,) = pinned.specifier
        assert ranges[pinned.name].contains(version.version), line
