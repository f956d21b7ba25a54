# SPDX-License-Identifier: Apache-2.0
"""Scripts that may start processes, and those that are told what to write."""

import os
import pathlib
import signal
import subprocess
import sys
import zipapp

import pytest

from flatten_jax.inputs import workers

ROOT = pathlib.Path(__file__).resolve().parents[2]
ASK = 'from flatten_jax.inputs.workers import script_problem\n'
CALL = 'print(script_problem())'


def answer(*arguments, cwd, **options) -> str:
  command = [sys.executable, *arguments]
  done = subprocess.run(
    command,
    cwd=cwd,
    env=os.environ | {'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
    check=True,
    **options,
  )
  return done.stdout.strip()


@pytest.mark.parametrize(
  ('code', 'line'),
  [
    (CALL, CALL),
    (f'def main():\n  {CALL}\n\n\nmain()', 'main()'),
    (f'if len(__file__):\n  {CALL}', CALL),
    (f"{CALL}\nif __name__ == '__main__':\n  pass", CALL),
    (f"if __name__ == '__main__':\n  {CALL}", ''),
    (f'if "__main__" == __name__ and __file__:\n  {CALL}', ''),
    (f"if __name__ != '__main__':\n  raise SystemExit\n{CALL}", ''),
  ],
)
def test_a_script_without_a_guard_is_told_the_line(code, line, tmp_path):
  script = tmp_path / 'train.py'
  script.write_text(ASK + code)
  for how in (['train.py'], ['-m', 'train']):
    told = answer(*how, cwd=tmp_path)
    assert (f"if __name__ == '__main__':\n    {line}\n" in told) == bool(line)
    assert bool(told) == bool(line)


@pytest.mark.parametrize(
  'code',
  [
    f"__name__ == '__main__' and {CALL}",
    f"{CALL} if __name__ == '__main__' else None",
    f"try:\n  if __name__ == '__main__':\n    {CALL}\nfinally:\n  pass",
    f"is_main = __name__ == '__main__'\nif is_main:\n  {CALL}",
    f"def main():\n  if __name__ == '__main__':\n    {CALL}\nmain()",
    f"match __name__:\n  case '__main__':\n    {CALL}",
    f"if __name__ != '__mp_main__':\n  {CALL}",
    'import multiprocessing as mp\n'
    f"if mp.current_process().name == 'MainProcess':\n  {CALL}",
  ],
)
def test_a_guard_may_be_written_in_any_way(code, tmp_path):
  (tmp_path / 'train.py').write_text(ASK + code)
  assert answer('train.py', cwd=tmp_path) == ''


@pytest.mark.parametrize(
  'how',
  [
    ['-m', 'package'],
    ['package'],
    ['app.pyz'],
    ['-m', 'cProfile', '-o', 'x', 'guarded.py'],
    ['-m', 'pdb', '-c', 'continue', '-c', 'quit', 'guarded.py'],
    ['-m', 'pdb', '-c', f'!{ASK}', '-c', f'!{CALL}', '-c', 'q', 'guarded.py'],
    ['-m', 'trace', '--count', '--missing', '-C', '.', 'guarded.py'],
    ['-c', "import runpy; runpy.run_path('guarded.py', run_name='__main__')"],
    ['-c', "import runpy; runpy.run_module('train')"],
    ['-m', 'pytest', '-qs', 'test_it.py'],
    ['-m', 'IPython', '--quick', '-c', f'{ASK}{CALL}'],
    ['-m', 'IPython', '--quick', 'guarded.py'],
  ],
  ids=' '.join,
)
def test_what_is_not_run_again_needs_no_guard(how, tmp_path):
  """Packages, zip files, debuggers, profilers, tests and notebooks."""
  if 'IPython' in how:
    pytest.importorskip('IPython')
  package = tmp_path / 'package'
  package.mkdir()
  for place in (package / '__main__.py', tmp_path / 'train.py'):
    place.write_text(ASK + CALL)
  guarded = f"if __name__ == '__main__':\n  {CALL}\n"
  (tmp_path / 'guarded.py').write_text(ASK + guarded)
  (tmp_path / 'test_it.py').write_text(f'{ASK}def test_it():\n  {CALL}\n')
  zipapp.create_archive(package, tmp_path / 'app.pyz')
  told = answer(*how, cwd=tmp_path, input='')
  assert 'Processes that read' not in told


def test_without_a_script_only_stdin_is_refused(tmp_path):
  assert answer('-c', ASK + CALL, cwd=tmp_path) == ''
  told = answer('-', cwd=tmp_path, input=ASK + CALL)
  assert 'save it in a file' in told


def test_a_process_that_is_killed_is_an_error_with_advice():
  with pytest.raises(RuntimeError, match='Give the same command again'):
    list(workers.share(signal.raise_signal, [(signal.SIGKILL,)], 1))


def test_a_process_that_runs_the_script_again_says_so(tmp_path):
  """In a thread the main script is not to be seen; in its processes it is."""
  code = (
    'import multiprocessing, threading\n'
    'def work():\n'
    "  process = multiprocessing.get_context('spawn').Process(target=print)\n"
    '  process.start(), process.join()\n'
    f'{CALL}\n'
    'if not multiprocessing.parent_process():\n'
    '  thread = threading.Thread(target=work)\n'
    '  thread.start(), thread.join()\n'
  )
  (tmp_path / 'train.py').write_text(ASK + code)
  assert answer('train.py', cwd=tmp_path).count('again. Put') == 2
