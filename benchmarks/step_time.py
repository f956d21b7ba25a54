# SPDX-License-Identifier: Apache-2.0
r"""Times our models against PyTorch's: forward and training step.

  python -m benchmarks.step_time
  python -m benchmarks.step_time --sizes=uniformer_xxs:2:480 --repeats=20
  python -m benchmarks.step_time --sizes=uniformer3d_xxs:1:16x160
  python -m benchmarks.step_time --peers=eager,compile
  python -m benchmarks.step_time --dtype=bfloat16 --sizes=uniformer_s:16:896
  python -m benchmarks.step_time --repeats=3 \
    --sizes=video_swin_t:1:16x112,timesformer_b:1:8x112,vidtr_s:1:8x112 \
    --output=benchmarks/results/step_time_video
  python -m benchmarks.step_time --repeats=3 --one_core --max_others=1 \
    --sizes=slowfast_r50:1:32x112,i3d_r50:1:8x112 \
    --output=benchmarks/results/step_time_clips

All run in this process, in turn, with the same weights and the same images, on
a GPU if JAX has one, else on all cores; PyTorch is channels-last, eager or by
`torch.compile`, with automatic mixed precision in bfloat16. ResNet and SwinV2
are timm's there, the UniFormers are torch_uniformer.py, the transformers
torch_video.py, SlowFast and I3D torch_clip_resnet.py, all without dropout. A
training step is forward, cross entropy and backward, with the batch's
statistics; no optimizer.
Needs `pip install -e .[bench]`.

A call during which other processes took more than --max_others of the processor
is not counted. With --one_core, both have one core and processor time is
counted, which is valid on a busy machine, too. The memory of a training step on
a CPU is measured in a process of its own, on Linux.
"""

import argparse
import ctypes
import datetime
import functools
import gc
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from benchmarks import measure, torch_models
import flatten_jax as fj
from flatten_jax.runtime.devices import host_memory
from flatten_jax.runtime.workdir import run_log

SIZES = (
  'resnet50:2:224,resnet101:2:224,swinv2_t:2:256,'
  'uniformer_xxs:2:320,uniformer_xxs:1:640,uniformer_s:2:224,uniformer_s:1:672'
)
ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'benchmarks' / 'results'
NAMES = {'eager': 'torch', 'compile': 'compiled'}  # Of the peers' results.
TOLERANCE = {'float32': 1e-4, 'bfloat16': 0.1}  # Of logits.


def jax_calls(model, images, labels):
  """Forward and training step as the project's loop runs them: pure, jitted."""
  graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
  params, stats = nnx.to_pure_dict(params), nnx.to_pure_dict(stats)

  @jax.jit
  def forward(params, stats, images):
    return nnx.merge(graphdef, params, stats)(images)

  @jax.jit
  @functools.partial(jax.value_and_grad, has_aux=True)
  def train(params, stats, images, labels):
    model = nnx.merge(graphdef, params, stats)
    heads = model(images, train=True)
    heads = heads if isinstance(heads, tuple) else (heads,)
    entropy = optax.softmax_cross_entropy_with_integer_labels
    loss = sum(entropy(logits, labels).mean() for logits in heads) / len(heads)
    return loss, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

  images, labels = jnp.asarray(images), jnp.asarray(labels)
  return {
    'forward': lambda: jax.block_until_ready(forward(params, stats, images)),
    'training': lambda: jax.block_until_ready(
      train(params, stats, images, labels)
    ),
  }


def torch_calls(model, images, labels, dtype='float32', compiled=False):
  """The same two, in PyTorch."""
  device = 'cuda' if on_gpu() else 'cpu'
  model = model.to(device)
  images = torch.from_numpy(images).movedim(-1, 1).to(device)  # Channels-last.
  labels = torch.from_numpy(labels).to(device)
  light = getattr(model, 'light', False)
  run = torch.compile(model) if compiled else model
  half = dtype == 'bfloat16'
  precision = torch.autocast(device, torch.bfloat16, enabled=half)
  # A model that is compiled for training too takes no inference tensors.
  without_gradient = torch.no_grad if compiled else torch.inference_mode

  def wait(result):
    if on_gpu():
      torch.cuda.synchronize()
    return result

  def forward():
    model.eval()
    with without_gradient(), precision:
      return wait(run(images))

  def train():
    model.train()
    model.zero_grad(set_to_none=True)
    with precision:
      heads = run(images, both_heads=True) if light else (run(images),)
      entropy = torch.nn.functional.cross_entropy
      loss = sum(entropy(logits, labels) for logits in heads) / len(heads)
    loss.backward()
    return wait(loss.detach())

  return {'forward': forward, 'training': train}


def on_gpu():
  """Returns whether JAX, and so PyTorch too, runs on a GPU."""
  return jax.default_backend() == 'gpu'


def busy_seconds():
  """Processor seconds that all processes have used; None where unknown."""
  try:
    fields = pathlib.Path('/proc/stat').read_text().split('\n')[0].split()[1:]
  except OSError:
    return None
  ticks = [int(field) for field in fields[:8]]
  idle = ticks[3] + ticks[4]
  return (sum(ticks) - idle) / os.sysconf('SC_CLK_TCK')


def timed(call, clock=time.perf_counter):
  """Seconds of one call, and the share of the processor that others took."""
  busy, own, begin = busy_seconds(), time.process_time(), time.perf_counter()
  start = clock()
  call()
  seconds, passed = clock() - start, time.perf_counter() - begin
  if busy is None:
    return seconds, 0.0
  others = busy_seconds() - busy - (time.process_time() - own)
  return seconds, max(others, 0) / passed / os.cpu_count()


def wait_for_quiet(max_others, deadline):
  """Returns as soon as a quarter of a second passes without other load."""
  while time.monotonic() < deadline:
    _, others = timed(functools.partial(time.sleep, 0.25))
    if others <= max_others:
      return


def times_of(calls, args):
  """Medians over undisturbed rounds; each round calls all in turn.

  Returns milliseconds, the mean share of the processor that others had
  meanwhile, how many rounds were kept and how many begun, and the ratio of JAX
  to the fastest other.
  """
  clock = time.process_time if args.one_core else time.perf_counter
  for call in calls.values():  # Compile and warm up.
    call()
    call()
  rounds, begun, deadline = [], 0, time.monotonic() + args.patience
  while len(rounds) < args.repeats and time.monotonic() < deadline:
    begun += 1
    times = {}
    for name, call in calls.items():
      wait_for_quiet(args.max_others, deadline)  # Also for the other's threads.
      times[name] = timed(call, clock)
    if max(others for _, others in times.values()) <= args.max_others:
      rounds.append(times)
  row = {'rounds': len(rounds), 'rounds_begun': begun}
  if rounds:
    for name in calls:
      seconds, others = zip(*(times[name] for times in rounds), strict=True)
      row[f'{name}_ms'] = round(1e3 * statistics.median(seconds), 1)
      row[f'{name}_others'] = round(statistics.mean(others), 3)
    fastest = min(row[f'{name}_ms'] for name in calls if name != 'jax')
    row['ratio'] = round(row['jax_ms'] / fastest, 3)
  return row


def inputs(batch, size):
  """Returns random images or clips, and labels."""
  *frames, side = map(int, size.split('x'))
  rng = np.random.default_rng(0)
  shape = (batch, *frames, side, side, 3)
  return rng.standard_normal(shape, np.float32), np.arange(batch)


def create(name, size, dtype='float32'):
  """Returns functions that make our model, and PyTorch's."""
  *frames, side = map(int, size.split('x'))
  options = torch_models.our_options(name, side, *frames) | {'dtype': dtype}
  return (
    functools.partial(fj.create_model, name, **options),
    functools.partial(torch_models.create, name, side, *frames),
  )


def step_memory(name, batch, size, which, dtype):
  """Returns MiB that a training step takes at its peak, with gradients.

  Parameters, inputs, the program and its compilation are not in it.
  """
  ours, theirs = create(name, size, dtype)
  batch = inputs(batch, size)
  if which == 'jax':
    call = jax_calls(ours(), *batch)['training']
  else:
    model = theirs()
    call = torch_calls(model, *batch, dtype)['training']
  call()  # Compiles.
  if which == 'torch':
    model.zero_grad(set_to_none=True)
  gc.collect()
  ctypes.CDLL(None).malloc_trim(0)
  pathlib.Path('/proc/self/clear_refs').write_text('5')  # Resets the peak.
  before = resident('VmRSS')
  call()
  return round((resident('VmHWM') - before) / 1024)


def resident(field):
  """Returns KiB of this process's memory: VmRSS now, VmHWM at its peak."""
  status = pathlib.Path('/proc/self/status').read_text()
  return int(status.split(field + ':')[1].split()[0])


def memory_in_process(text, which, args):
  """Returns `step_memory` of a process of its own."""
  command = [sys.executable, '-m', 'benchmarks.step_time', f'--sizes={text}']
  command += [f'--memory={which}', f'--dtype={args.dtype}']
  command += ['--one_core'] * args.one_core
  done = subprocess.run(
    command, cwd=ROOT, check=True, capture_output=True, text=True
  )
  return int(done.stdout.split()[-1])


def compare(name, batch, size, args):
  """One row of the table for each of forward and training."""
  ours, theirs = (make() for make in create(name, size, args.dtype))
  weights = {k: v.numpy() for k, v in theirs.state_dict().items()}
  fj.load_torch(ours, weights)
  images, labels = inputs(batch, size)
  found = {'jax': jax_calls(ours, images, labels)}
  for peer in args.peers.split(','):
    compiled = peer == 'compile'
    found[NAMES[peer]] = torch_calls(
      theirs, images, labels, args.dtype, compiled
    )
  expected = np.asarray(found['jax']['forward'](), np.float32)
  for peer in list(found)[1:]:
    logits = found[peer]['forward']().float().cpu().numpy()
    gap = np.abs(expected - logits).max()
    if gap > TOLERANCE[args.dtype]:
      raise AssertionError(f'{name}: {peer} differs by {gap:.1e}.')

  for kind in ('forward', 'training'):
    calls = {peer: both[kind] for peer, both in found.items()}
    row = {'model': name, 'batch': batch, 'size': size, 'what': kind}
    row |= times_of(calls, args)
    if kind == 'training' and not on_gpu():
      for which in ('jax', 'torch'):
        text = f'{name}:{batch}:{size}'
        row[f'{which}_mib'] = memory_in_process(text, which, args)
    print(row, flush=True)
    yield row


def machine(one_core, dtype):
  """Returns the versions and hardware that the figures depend on."""
  return {
    'date': datetime.date.today().isoformat(),
    'commit': run_log.commit() or 'unknown',
    'cpu': measure.processor(),
    'cores': 1 if one_core else os.cpu_count(),
    'device': jax.devices()[0].device_kind,
    'dtype': dtype,
    'python': platform.python_version(),
    'jax': jax.__version__,
    'torch': torch.__version__,
    'torch_threads': torch.get_num_threads(),
  }


def as_markdown(facts, rows):
  """The page of the results: conditions, then a line for each size."""
  lines = [
    '# Step time: JAX against PyTorch',
    '',
    'Made by `python -m benchmarks.step_time`: medians of rounds that call all',
    'in turn (of processor time, where there is one core). Compiled is by',
    '`torch.compile`. Ratio: JAX to the faster of the two; below 1, JAX is',
    'faster. Others: the share of the processor that other processes had',
    'meanwhile. MiB: what a training step takes at its peak, with gradients',
    'and without parameters, in a process of its own.',
    '',
    ', '.join(f'{k} {v}' for k, v in facts.items()),
    '',
    '| model | batch x size | what | JAX ms | PyTorch ms | compiled ms | ratio '
    '| JAX MiB | PyTorch MiB | others | rounds |',
    '|---|---|---|---|---|---|---|---|---|---|---|',
  ]
  for row in rows:
    keys = ('jax_ms', 'torch_ms', 'compiled_ms', 'ratio')
    missing = '' if row['rounds'] else 'disturbed'
    figures = [str(row.get(key, missing)) for key in keys]
    keys = ('jax_mib', 'torch_mib', 'jax_others')
    figures = ' | '.join(figures + [str(row.get(key, '')) for key in keys])
    lines.append(
      f'| {row["model"]} | {row["batch"]} x {row["size"]} | {row["what"]} '
      f'| {figures} | {row["rounds"]} of {row["rounds_begun"]} |'
    )
  return '\n'.join(lines) + '\n'


def main():
  """Times every size in turn and keeps the rounds that were undisturbed."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument(
    '--sizes',
    default=SIZES,
    help='model:batch:side, model:batch:framesxside, ...',
  )
  parser.add_argument(
    '--peers', default='eager', help='of PyTorch: eager; compile; eager,compile'
  )
  parser.add_argument('--dtype', choices=TOLERANCE, default='float32')
  parser.add_argument('--repeats', type=int, default=15)
  parser.add_argument('--max_others', type=float, default=0.04)
  parser.add_argument('--patience', type=float, default=120, help='s per row')
  parser.add_argument('--one_core', action='store_true')
  parser.add_argument(
    '--memory', choices=('jax', 'torch'), help='only that of one training step'
  )
  parser.add_argument('--output', default=str(RESULTS / 'step_time'))
  args = parser.parse_args()
  if args.one_core:  # Before jax starts its threads.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
  if args.memory:
    name, batch, size = args.sizes.split(':')
    print(step_memory(name, int(batch), size, args.memory, args.dtype))
    return
  host_memory.keep_freed_memory()  # PyTorch gains by it, too.
  rows = []
  for text in args.sizes.split(','):
    name, batch, size = text.split(':')
    for row in compare(name, int(batch), size, args):
      rows.append(row)
      write(rows, args)
  print(as_markdown(machine(args.one_core, args.dtype), rows))


def write(rows, args):
  """Writes all rows so far: one that fails or hangs loses none before it."""
  facts, output = machine(args.one_core, args.dtype), pathlib.Path(args.output)
  output.parent.mkdir(parents=True, exist_ok=True)
  result = json.dumps({'machine': facts, 'rows': rows}, indent=2)
  output.with_suffix('.json').write_text(result + '\n')
  output.with_suffix('.md').write_text(as_markdown(facts, rows))


if __name__ == '__main__':
  main()
