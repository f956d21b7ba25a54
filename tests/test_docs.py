# SPDX-License-Identifier: Apache-2.0
"""The pages build as a site, and files and versions that they name exist."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

import flatten_jax as fj
from flatten_jax.inputs.sampling import rules
from flatten_jax.models import MODELS

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = sorted(
  [
    *ROOT.glob('*.md'),
    *ROOT.glob('docs/*.md'),
    *ROOT.glob('data/**/*.md'),
  ]
)
FOLDERS = '(?:flatten_jax|configs|data|benchmarks|colabs|tests|docs)'


def test_the_site_builds_without_a_warning(tmp_path):
  pytest.importorskip('mkdocs')
  pytest.importorskip('mkdocstrings')
  done = subprocess.run(
    [sys.executable, '-m', 'mkdocs', 'build', '--strict', f'-d{tmp_path}'],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  assert (tmp_path / 'api' / 'index.html').is_file()


def test_every_public_name_has_a_place_in_the_api_reference():
  text = (ROOT / 'docs' / 'api.md').read_text()
  named = re.findall(r'^::: flatten_jax[\w.]*\.(\w+)$', text, re.MULTILINE)
  assert sorted(named) == fj.__all__


@pytest.mark.parametrize('page', PAGES, ids=lambda path: path.name)
def test_a_page_names_files_and_headings_that_exist(page):
  text = page.read_text()
  missing = []
  for link, heading in re.findall(r'\]\((?!http)([^)#]*)#?([^)]*)\)', text):
    target = page.parent / link if link else page
    if not target.exists() or heading not in {'', *anchors(target)}:
      missing.append(f'{link}#{heading}')
  for path in re.findall(rf'`({FOLDERS}/[\w./*-]+)`', text):
    if 'NAME' not in path and not any(ROOT.glob(path.rstrip('/'))):
      missing.append(path)
  assert not missing


def test_python_blocks_use_public_names():
  for page in PAGES:
    for block in re.findall(
      r'```python\n(.*?)```', page.read_text(), re.DOTALL
    ):
      ast.parse(block)
      assert set(re.findall(r'\bfj\.(\w+)', block)) <= set(fj.__all__), page


def anchors(page):
  """Returns the anchors of a page's headings, named as GitHub and MkDocs do."""
  if page.suffix != '.md':
    return set()
  headings = re.findall(r'^#+ (.*)$', page.read_text(), re.MULTILINE)
  words = [re.sub(r'[^\w\s-]', '', heading.lower()) for heading in headings]
  return {re.sub(r'\s', '-', text.strip()) for text in words}


def test_the_map_names_files_that_exist():
  text = (ROOT / 'docs' / 'architecture.md').read_text()
  package = ROOT / 'flatten_jax'
  folders = [package, *(path for path in package.rglob('*') if path.is_dir())]
  for name in set(re.findall(r'`([a-z_0-9/]+\.py)`', text)):
    assert (ROOT / name).exists() or any(
      (folder / name).exists() for folder in folders
    ), name


def test_the_map_has_the_folders_of_the_package():
  text = (ROOT / 'docs' / 'architecture.md').read_text().partition('Around')[0]
  package = ROOT / 'flatten_jax'
  folders = {file.parent.relative_to(package) for file in package.rglob('*.py')}
  named = re.findall(r'^\| `([a-z_/]+)/` \|', text, re.MULTILINE)
  assert sorted(named) == sorted(f'{path}' for path in folders if path.name)


def test_the_table_of_published_weights_has_them_all():
  text = (ROOT / 'docs' / 'models.md').read_text()
  named, model = set(), ''
  for first, weights in re.findall(r'^\|(.*?)\|(.*?)\|', text, re.MULTILINE):
    model = re.findall('`([^`]+)`', first) or model
    named |= {(m, w) for m in model for w in re.findall('`([^`]+)`', weights)}
  published = {(m, w) for m, entry in MODELS.items() for w in entry.weights}
  assert published <= named


def test_hooks_and_requirements_have_the_same_ruff():
  hooks = (ROOT / '.pre-commit-config.yaml').read_text()
  pins = (ROOT / 'requirements-dev.txt').read_text()
  (pin,) = re.findall(r'^ruff==\S+', pins, re.MULTILINE)
  assert set(re.findall(r'\[(ruff==[^\]]+)\]', hooks)) == {pin}


def test_every_sampling_rule_has_a_row():
  text = (ROOT / 'docs' / 'evaluation.md').read_text()
  section = text.partition('## Frames of a clip')[2].partition('\n## ')[0]
  named = re.findall(r'^\| `(\w+)` \|', section, re.MULTILINE)
  assert named == list(rules.RULES)
