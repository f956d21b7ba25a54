# SPDX-License-Identifier: Apache-2.0
r"""Everything to find out about one GPU, in a quarter of an hour.

  python -m benchmarks.gpu_round --videos=/videos
  python -m benchmarks.gpu_round --only=forms,kill
  python -m benchmarks.gpu_round --small     # on a CPU: does this script work?

The most telling part comes first:

  peers     UniFormer-S and XXS against PyTorch, eager and compiled, in bfloat16
            (`step_time.py`; needs PyTorch, for CUDA)
  rows      the paper's models at their size and batch, input too (`gpu.py`):
            the first two or three, at two minutes each
  forms     forms of attention and of depthwise convolution (`layer_forms.py`)
  kill      a run that is killed and resumed, to the bit? (`survival.py`)
  train     the quickstart: is its accuracy that of a CPU?
  peers_32  the first part in float32
  batch_*   the largest batch of a model that fits, and its speed

Each is a command in a process of its own with a limit of time. When the time of
the whole is up, the rest is left out. In --out are the parts' logs, and the
tables, which are written after each row; summary.md says how each part ended.
For a machine without an index of packages, they are made elsewhere:

  pip install --target=packages --only-binary=:all: --python-version=3.12 \
    grain array-record tensorflow-datasets ml-collections clu av tensorboardX
  python -m benchmarks.gpu_round --packages=packages
"""

import argparse
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
BATCHES = (
  'k400_uniformer_s',
  'k400_uniformer_xxs',
  'k400_swinv2_t',
  'k400_resnet101',
  'k400_uniformer3d_s',
  'k400_slowfast_r101',
  'k400_video_swin_t',
  'k400_timesformer',
  'ssv2_tdn_r50',
)
SECONDS = 14 * 60  # Of the whole, so that a quarter of an hour suffices.
GRACE = 10  # Seconds between SIGTERM and SIGKILL.


def parts(args: argparse.Namespace) -> dict[str, tuple[int, list[str]]]:
  """Returns the limit in seconds and the command of each part, by name."""
  out, small = args.out, args.small
  sizes = (
    'uniformer_xxs:1:32' if small else 'uniformer_s:8:896,uniformer_xxs:16:640'
  )
  few = ['--repeats=2', '--max_others=9'] if small else ['--repeats=9']
  peers = [
    '-m', 'benchmarks.step_time', f'--sizes={sizes}', *few,
    f'--peers={"eager" if small else "eager,compile"}',
  ]  # fmt: skip
  forms = ['-m', 'benchmarks.layer_forms', f'--output={out / "forms"}']
  quickstart = 'configs/quickstart.py' + (':clips=24' if small else '')
  train = [
    'main.py', f'--config={quickstart}', f'--workdir={out / "quickstart"}',
  ] + ['--config.epochs=3'] * small  # fmt: skip
  kill = [  # The disturbances of this seed: kill -9, SIGTERM, a damaged file.
    '-m', 'benchmarks.survival', f'--folder={out / "survival"}',
    '--disturbances=3', '--seed=1', '--epochs=3',
    f'--platform={"cpu" if small else "cuda"}',
  ]  # fmt: skip
  rows = ['-m', 'benchmarks.gpu', f'--out={out}']
  rows += ['--small', '--only=xxs'] if small else [f'--videos={args.videos}']
  found = {
    'peers': (150, [*peers, '--dtype=bfloat16', f'--output={out / "peers"}']),
    'rows': (240, rows),
    'forms': (120, forms + ['--small'] * small),
    'kill': (120, kill),
    'train': (90, train),
    'peers_32': (90, [*peers, f'--output={out / "peers_32"}']),
  }
  if not (small or args.videos):
    del found['rows']
  for name in BATCHES[: 1 if small else None]:
    command = [
      'main.py', '--mode=batch_size', f'--config=configs/{name}.py',
      f'--workdir={out / name}', '--config.model.dtype=bfloat16',
      '--config.data.motion_clips=48',
    ]  # fmt: skip
    if small:
      command += ['--config.model.name=uniformer_test', '--limit=2']
      command += ['--config.data.crop=32', '--config.data.num_frames=4']
    found[f'batch_{name}'] = (40, command)
  return found


def run(name: str, seconds: float, command: list[str], args) -> str:
  """Runs one part, and returns how it ended."""
  paths = [ROOT, args.packages, os.environ.get('PYTHONPATH', '')]
  env = os.environ | {'PYTHONPATH': os.pathsep.join(str(p) for p in paths if p)}
  with open(args.out / f'{name}.log', 'w') as log:
    process = subprocess.Popen(
      [sys.executable, *command],
      cwd=ROOT,
      env=env,
      stdout=log,
      stderr=subprocess.STDOUT,
      start_new_session=True,
    )
    try:
      status = process.wait(seconds)
    except subprocess.TimeoutExpired:
      stop(process)
      return f'stopped after {seconds:.0f} s'
  if not status:
    return 'done'
  lines = (args.out / f'{name}.log').read_text().strip().splitlines()
  return f'failed: {lines[-1][:100]}' if lines else f'failed: status {status}'


def stop(process: subprocess.Popen) -> None:
  """Ends a group of processes, which get some time to end their own."""
  os.killpg(process.pid, signal.SIGTERM)
  with contextlib.suppress(subprocess.TimeoutExpired):
    process.wait(GRACE)
  with contextlib.suppress(ProcessLookupError):
    os.killpg(process.pid, signal.SIGKILL)
  process.wait()


def main(argv: list[str] | None = None) -> None:
  """Runs the parts in turn, and writes the summary after each."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--videos', default='', help='a folder, for `rows`')
  parser.add_argument('--only', default='', help='parts, such as forms,kill')
  parser.add_argument('--packages', default='', help='a folder of packages')
  parser.add_argument('--out', type=pathlib.Path, default='gpu_round')
  parser.add_argument('--small', action='store_true', help='tiny, on a CPU')
  args = parser.parse_args(argv)
  args.out = args.out.resolve()
  args.out.mkdir(parents=True, exist_ok=True)
  if args.videos:
    args.videos = pathlib.Path(args.videos).resolve()
  if args.packages:
    args.packages = pathlib.Path(args.packages).resolve()
  chosen = args.only.split(',') if args.only else []
  lines = ['| part | seconds | |', '|---|--:|---|']
  slower = 5 if args.small else 1  # A CPU compiles, and steps, more slowly.
  deadline = time.monotonic() + slower * SECONDS
  for name, (seconds, command) in parts(args).items():
    if chosen and not name.startswith(tuple(chosen)):
      continue
    start = time.monotonic()
    left = deadline - start - GRACE
    ended = 'left out: the time is up'
    if left > GRACE:
      ended = run(name, min(slower * seconds, left), command, args)
    lines.append(f'| {name} | {time.monotonic() - start:.0f} | {ended} |')
    print(lines[-1], flush=True)
    (args.out / 'summary.md').write_text('\n'.join(lines) + '\n')


if __name__ == '__main__':
  main()
