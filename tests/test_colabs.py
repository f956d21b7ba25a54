# SPDX-License-Identifier: Apache-2.0
"""The notebooks run from top to bottom in a kernel, on few videos."""

import importlib.util
import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
# In place of the sizes in each notebook: seconds of training, not minutes.
SMALL = {
  'flatten_tour': """
MODEL, FRAMES, SIDE, CLIPS, EPOCHS = 'uniformer_test', 4, 16, 64, 1.0
""",
  'use_pretrained': """
MODEL, VIDEO_MODEL = 'uniformer_test', 'uniformer3d_test'
SIDE, CLIPS, EPOCHS, PUBLISHED = 32, 24, 1.0, False
""",
  'finetune_your_videos': """
VIDEOS, NEW_VIDEO, EPOCHS, CLIPS = '', '', 1.0, 10
""",
}


def test_every_notebook_is_run():
  assert {path.stem for path in (ROOT / 'colabs').glob('*.ipynb')} == set(SMALL)


@pytest.mark.slow
@pytest.mark.parametrize('name', SMALL)
def test_a_notebook_runs_from_top_to_bottom(name, tmp_path, monkeypatch):
  nbclient = pytest.importorskip('nbclient')
  nbformat = pytest.importorskip('nbformat')
  pytest.importorskip('ipykernel')
  monkeypatch.setenv('MPLBACKEND', 'module://matplotlib_inline.backend_inline')
  # One device, as users have: small batches do not divide over eight.
  monkeypatch.setenv('XLA_FLAGS', '--xla_backend_optimization_level=0')
  notebook = nbformat.read(ROOT / 'colabs' / f'{name}.ipynb', as_version=4)
  (sizes,) = (
    cell
    for cell in notebook.cells
    if 'parameters' in cell.metadata.get('tags', ())
  )
  assert names_in(SMALL[name]) | {'WORK'} == names_in(sizes.source)
  sizes.source = f'{SMALL[name]}\nWORK = pathlib.Path({str(tmp_path)!r})'
  client = nbclient.NotebookClient(
    notebook,
    timeout=600,
    kernel_name='python3',
    resources={'metadata': {'path': str(ROOT / 'colabs')}},
  )
  client.execute()
  outputs = [out for cell in notebook.cells for out in cell.get('outputs', ())]
  assert any('image/png' in out.get('data', {}) for out in outputs)
  errors = [out for out in outputs if out.output_type == 'error']
  assert not errors
  check_lengths(outputs)


def names_in(code: str) -> set[str]:
  """Returns the constants that the code assigns."""
  return set(re.findall(r'\b[A-Z][A-Z_]+\b(?=[^#\n=]*=)', code))


@pytest.mark.parametrize('name', SMALL)
@pytest.mark.parametrize(
  ('found', 'gpu', 'installed'),
  [
    ({'jax', 'flax', 'grain'}, True, '.[cuda]'),  # As in Colab.
    ({'jax', 'flax', 'grain', 'ml_collections'}, False, '.'),
    ({'jax', 'av', 'clu', 'ml_collections'}, True, None),
  ],
)
def test_missing_packages_are_installed_in_colab(
  name, found, gpu, installed, monkeypatch
):
  notebook = json.loads((ROOT / 'colabs' / f'{name}.ipynb').read_text())
  (setup,) = (
    ''.join(cell['source'])
    for cell in notebook['cells']
    if 'find_spec' in ''.join(cell['source'])
  )
  commands = []
  monkeypatch.chdir(ROOT / 'colabs')
  monkeypatch.setattr(sys, 'path', list(sys.path))
  monkeypatch.setattr(importlib.util, 'find_spec', lambda x: x in found or None)
  monkeypatch.setattr(shutil, 'which', lambda name: name if gpu else None)
  monkeypatch.setattr(subprocess, 'run', lambda x, check: commands.append(x))
  exec(setup, {})
  assert [command[-1] for command in commands] == [installed] * bool(installed)


@pytest.mark.parametrize('name', SMALL)
def test_a_notebook_outside_of_a_clone_says_so(name, tmp_path, monkeypatch):
  notebook = json.loads((ROOT / 'colabs' / f'{name}.ipynb').read_text())
  first = next(c for c in notebook['cells'] if c['cell_type'] == 'code')
  monkeypatch.chdir(tmp_path)
  with pytest.raises(SystemExit, match='No clone of flatten_jax in') as stop:
    # It clones once the repository has an address.
    exec(re.sub("ADDRESS = '.*'", "ADDRESS = ''", ''.join(first['source'])), {})
  assert 'git clone' in str(stop.value)


@pytest.mark.parametrize('name', SMALL)
def test_outputs_are_stored(name):
  path = ROOT / 'colabs' / f'{name}.ipynb'
  assert path.stat().st_size < 1_500_000
  notebook = json.loads(path.read_text())
  cells = [c for c in notebook['cells'] if c['cell_type'] == 'code']
  # The cells in their order, of a kernel that was started for them.
  assert [c['execution_count'] for c in cells] == [*range(1, len(cells) + 1)]
  assert all('execution' not in cell['metadata'] for cell in cells)
  assert 'widgets' not in notebook['metadata']
  outputs = [out for cell in cells for out in cell['outputs']]
  assert any('image/png' in out.get('data', {}) for out in outputs)
  assert {out['output_type'] for out in outputs} <= {
    'stream',
    'display_data',
    'execute_result',
  }
  check_lengths(outputs)
  for text in map(text_of, outputs):
    assert not re.search(r'(?<![\w.])/(home|root|tmp|work|Users)\b', text)
    assert not re.search(r'Warning|Traceback|0x[0-9a-f]{6}|\d:\d\d:\d\d', text)


def check_lengths(outputs):
  """Fails for pages of text, such as weights; a report is for a browser."""
  for output in outputs:
    text = text_of(output)
    assert len(text) <= 6000 or '<iframe' in text, text[:200]


def text_of(output) -> str:
  """Returns all text of an output."""
  data = output.get('data', {})
  parts = [data[kind] for kind in data if kind.startswith('text/')]
  return ''.join(''.join(part) for part in [output.get('text', ''), *parts])


def script(name):
  """Imports a script of colabs/, which is not a package."""
  path = ROOT / 'colabs' / f'{name}.py'
  spec = importlib.util.spec_from_file_location(name, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.mark.parametrize('name', SMALL)
def test_with_an_address_a_badge_opens_a_notebook_which_clones(
  name, tmp_path, monkeypatch
):
  set_address = script('set_address')
  path = ROOT / 'colabs' / f'{name}.ipynb'
  text = set_address.in_notebook(path.read_text(), 'me/first', name)
  again = set_address.in_notebook(text, 'you/then', name)
  assert again == text.replace('me/first', 'you/then')
  title, setup = (''.join(c['source']) for c in json.loads(text)['cells'][:2])
  link, _, rest = title.partition('\n\n')
  assert rest.startswith('# ') and 'colab-badge' not in rest
  assert link.endswith(f'com/github/me/first/blob/main/colabs/{name}.ipynb)')

  def clone(command, check):
    assert command[:2] == ['git', 'clone'], check
    assert command[-2:] == ['https://github.com/me/first', 'flatten_jax']
    (tmp_path / 'flatten_jax').mkdir()

  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, 'path', list(sys.path))
  monkeypatch.setattr(subprocess, 'run', clone)
  exec(setup, {})
  assert pathlib.Path.cwd() == tmp_path / 'flatten_jax'


def test_the_readme_gets_a_badge_for_each_notebook(tmp_path):
  set_address = script('set_address')
  shutil.copytree(ROOT / 'colabs', tmp_path / 'colabs')
  shutil.copy(ROOT / 'README.md', tmp_path)
  set_address.set_address(tmp_path, 'me/first')
  set_address.set_address(tmp_path, 'you/then')
  page = (tmp_path / 'README.md').read_text()
  assert page.count('/github/you/then/') == page.count('colab-badge.svg') == 3
  assert 'me/first' not in page
  with pytest.raises(ValueError, match='Expected OWNER/NAME on GitHub; got'):
    set_address.set_address(tmp_path, 'https://github.com/you/then')


def test_what_is_noise_is_not_stored():
  pytest.importorskip('nbclient')
  nbformat = pytest.importorskip('nbformat')
  store_outputs = script('store_outputs')
  make, kind = nbformat.v4.new_output, 'stream'
  text, page = store_outputs.clean(
    [
      make(kind, name='stdout', text=f'12:00:00  In {ROOT}/runs/1\n'),
      make(kind, name='stderr', text='SomeWarning'),
      make(
        kind,
        name='stdout',
        text='12:00:30  Rendering: 5 of 9 clips, 3/s, 00:13 left\n'
        'test: 9 of 9 videos, held out\n',
      ),
      make(
        'execute_result',
        {'text/html': 'a' * 6001, 'text/plain': '<X at 0x7f12ab>'},
      ),
    ]
  )
  assert text.text == 'In runs/1\ntest: 9 of 9 videos, held out\n'
  assert page.data == {'text/plain': '<X>'}
