# SPDX-License-Identifier: Apache-2.0
r"""Growth of the time of a training step with devices, models and frames.

  python -m benchmarks.scaling
  python -m benchmarks.scaling --devices=1,2,4,8 --rounds=9 --sizes=

Weak scaling: each of 1, 2, 4 and 8 devices gets the same number of clips. The
devices are simulated on this machine's cores (XLA's forced host devices), so 8
devices have 8 times the work to do on the same cores. What can be seen is what
dividing costs: the time of n devices over n times that of one, 1.00 if dividing
a batch and adding up its gradients cost nothing. A network between machines
this does not show.

Cost: the step of each model:frames, beside how many times the multiply-adds of
the first it needs by `fj.cost`.

A group's steps take turns, and medians are given: of the time that passes, and
of the processor time of all threads, which is to be trusted where the machine
is busy with other things too. Results are written after each group.
"""

import argparse
import os
import pathlib
import time

# Before jax is imported.
os.environ['XLA_FLAGS'] = ' '.join(
  (
    os.environ.get('XLA_FLAGS', ''),
    '--xla_force_host_platform_device_count=8',
  )
)
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

import jax
import numpy as np

from benchmarks import measure
from configs import common
from flatten_jax.runtime.configuration import config as configs
from flatten_jax.runtime.devices import host_memory
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.training import optimizer, setup

RESULTS = pathlib.Path(__file__).parent / 'results'
SIZES = (
  'uniformer_nano:9,uniformer_nano:16,uniformer_nano:25;'
  'uniformer_nano:9,uniformer_xxs:9,resnet50:9,uniformer_s:9'
)
CLASSES = tuple(f'class {number}' for number in range(10))


class Step:
  """The loop's training step on clips that are on the devices already."""

  def __init__(self, model, frames, args, devices=1, sharding='replicated'):
    config = common.base()
    config.model.name = model
    config.data.num_frames, config.data.crop = frames, args.side
    config.batch_size = args.batch * devices
    config.sharding = sharding
    config = configs.fill_and_check(config)
    self.run = Experiment.create(config, CLASSES, jax.devices()[:devices])
    tx = optimizer.make(config)
    self.rate = self.run.to_all_devices(config.lr)
    self.state = setup.initial_state(self.run, tx)
    self.update = setup.make_train_step(self.run, tx)
    shape = config.batch_size, frames, args.side, args.side, 3
    rng = np.random.default_rng(0)
    self.arrays = self.run.to_devices(
      {
        'clip': rng.integers(0, 256, shape, np.uint8),
        'label': np.arange(shape[0], dtype=np.int32) % len(CLASSES),
      }
    )

  def __call__(self):
    self.state, metrics = self.update(self.state, self.arrays, self.rate)
    jax.block_until_ready(metrics)


def milliseconds(steps: dict, rounds: int) -> dict:
  """Medians of each `Step`: of the time that passes, and of the processor's."""
  clocks = time.perf_counter, time.process_time
  found = measure.in_turn(steps, rounds, clocks)
  return {name: [1e3 * time for time in times] for name, times in found.items()}


def weak_scaling(args) -> list[str]:
  """Rows of the first table."""
  counts = [int(count) for count in args.devices.split(',')]
  if max(counts) > jax.device_count():
    raise SystemExit(
      f'--devices must be at most {jax.device_count()}, which are simulated; '
      f'got {args.devices}.'
    )
  cases = [(count, 'replicated') for count in counts]
  cases.append((counts[-1], 'fsdp'))
  steps = {case: Step(args.model, 9, args, *case) for case in cases}
  found = milliseconds(steps, args.rounds)
  one = found[cases[0]]
  lines = [
    f'## Devices: {args.model}, 9 frames of {args.side} px, {args.batch} clips '
    'each',
    '',
    '| devices | parameters | ms | over n times one | processor ms '
    '| over n times one |',
    '|---|---|---|---|---|---|',
  ]
  for (count, sharding), times in found.items():
    ratios = [
      ms / (first * count / counts[0])
      for ms, first in zip(times, one, strict=True)
    ]
    lines.append(
      f'| {count} | {sharding} | {times[0]:.1f} | {ratios[0]:.2f} '
      f'| {times[1]:.1f} | {ratios[1]:.2f} |'
    )
  return lines


def cost(sizes: str, args) -> list[str]:
  """Rows of the table of one group of model:frames."""
  steps = {}
  for size in sizes.split(','):
    model, frames = size.split(':')
    steps[size] = Step(model, int(frames), args)
  found = milliseconds(steps, args.rounds)
  lines = [
    f'## {sizes.replace(",", ", ").replace(":", " x ")}: {args.batch} clips of '
    f'{args.side} px',
    '',
    '| model | frames | GFLOPs a view | times the first | ms | times the first '
    '| processor ms | times the first | GFLOP/s and core |',
    '|---' * 9 + '|',
  ]
  gflops = {size: step.run.cost.gflops for size, step in steps.items()}
  first = next(iter(steps))
  for size, (passed, worked) in found.items():
    model, frames = size.split(':')
    work = 6 * gflops[size] * args.batch
    lines.append(
      f'| {model} | {frames} | {gflops[size]:.3f} '
      f'| {gflops[size] / gflops[first]:.2f} '
      f'| {passed:.1f} | {passed / found[first][0]:.2f} '
      f'| {worked:.1f} | {worked / found[first][1]:.2f} '
      f'| {work / worked * 1e3:.1f} |'
    )
  return lines


def main(argv=None):
  """Times steps by devices, then by model and frames; writes the tables."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--devices', default='1,2,4,8', help="'': none")
  parser.add_argument('--model', default='uniformer_nano', help='on devices')
  parser.add_argument('--sizes', default=SIZES, help='model:frames,...;...')
  parser.add_argument('--side', type=int, default=32, help='px of a frame')
  parser.add_argument('--batch', type=int, default=4, help='clips per device')
  parser.add_argument('--rounds', type=int, default=9)
  parser.add_argument('--output', default=str(RESULTS / 'scaling.md'))
  args = parser.parse_args(argv)
  host_memory.keep_freed_memory()
  lines = [
    '# How a training step grows',
    '',
    f'{measure.machine()}, jax {jax.__version__}, '
    f'float32, medians of {args.rounds} rounds in turn; made by',
    '`python -m benchmarks.scaling`, which explains them. Other programs '
    f'had a load of {os.getloadavg()[0]:.1f} when this began.',
  ]
  groups = [sizes for sizes in args.sizes.split(';') if sizes]
  jobs = [lambda sizes=sizes: cost(sizes, args) for sizes in groups]
  if args.devices:
    jobs.insert(0, lambda: weak_scaling(args))
  for job in jobs:
    table = job()
    print('\n'.join(table), flush=True)
    lines += ['', *table]
    pathlib.Path(args.output).write_text('\n'.join(lines) + '\n')


if __name__ == '__main__':
  main()
