# SPDX-License-Identifier: Apache-2.0
"""Scripts that may start processes, and those that are told what to write."""

import os
import pathlib
import subprocess
import sys

import pytest

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


def test_without_a_script_only_stdin_is_refused(tmp_path):
  assert answer('-c', ASK + CALL, cwd=tmp_path) == ''
  told = answer('-', cwd=tmp_path, input=ASK + CALL)
  assert 'save it in a file' in told


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
