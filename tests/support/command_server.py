# SPDX-License-Identifier: Apache-2.0
"""Runs commands in forks of one process, which has imported everything once.

Importing jax and the other libraries takes longer than most commands of the
tests. A fork is a new process in all else: no device is initialized before it.
"""

import gc
import importlib
import json
import os
import pathlib
import pkgutil
import runpy
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


class CommandServer:
  """Runs `python ...` in the repository like `subprocess.run`, but faster."""

  def __init__(self):
    self._process = subprocess.Popen(
      [sys.executable, __file__],
      cwd=ROOT,
      env=one_device(),
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )

  def run(
    self, arguments: list[str], path: str = ''
  ) -> subprocess.CompletedProcess:
    """Returns the exit status and the output of `python <arguments>`.

    Args:
      arguments: a script, or -m and a module, and its arguments.
      path: a folder to import from as well.
    """
    with tempfile.TemporaryDirectory() as folder:
      request = {'arguments': arguments, 'path': str(path), 'folder': folder}
      print(json.dumps(request), file=self._process.stdin, flush=True)
      status = int(self._process.stdout.readline())
      out, err = (
        (pathlib.Path(folder) / name).read_text() for name in ('out', 'err')
      )
    return subprocess.CompletedProcess(arguments, status, out, err)

  def close(self) -> None:
    """Ends the process."""
    self._process.stdin.close()
    self._process.stdout.close()
    self._process.wait()


def one_device() -> dict[str, str]:
  """Returns the environment of a command: one device, as most users have."""
  flags = os.environ['XLA_FLAGS'].split()
  flags = [f for f in flags if 'device_count' not in f]
  return os.environ | {'XLA_FLAGS': ' '.join(flags)}


def serve() -> None:
  """Forks for every line of stdin; prints each command's exit status."""
  sys.path.insert(0, str(ROOT))
  import flatten_jax

  for module in pkgutil.walk_packages(flatten_jax.__path__, 'flatten_jax.'):
    if module.name == 'flatten_jax.demo.page':
      continue  # It needs an extra.
    importlib.import_module(module.name)
  for name in ('grain.python', 'matplotlib.pyplot', 'ml_collections'):
    importlib.import_module(name)
  gc.freeze()  # Or collecting garbage copies all of it in every fork.
  gc.set_threshold(20_000, 20, 20)  # As in tests/conftest.py.
  for line in sys.stdin:
    child = os.fork()
    if not child:
      execute(**json.loads(line))
      return
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)


def execute(arguments: list[str], path: str, folder: str) -> None:
  """Runs one command, with its output in the files out and err of `folder`."""
  for stream, name in ((1, 'out'), (2, 'err')):
    file = os.open(f'{folder}/{name}', os.O_WRONLY | os.O_CREAT)
    os.dup2(file, stream)
  os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
  if path:
    sys.path.insert(1, path)
    os.environ['PYTHONPATH'] = path  # Processes that it starts import from it.
  if arguments[0] == '-m':
    sys.argv = arguments[1:]
    runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)
  else:
    sys.argv = arguments
    runpy.run_path(sys.argv[0], run_name='__main__')


if __name__ == '__main__':
  serve()
