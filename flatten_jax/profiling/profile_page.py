# SPDX-License-Identifier: Apache-2.0
"""Texts of a profile: profile.md and the lines on the console."""

from collections.abc import Mapping
from typing import Any

from flatten_jax.training import throughput

_PAGE = """\
# Profile of {model}

{date}, {devices} x {device}, {cores} cores, jax {jax}, commit {commit}.
{frames} frames of {crop} px {layout}; {dtype}; {clips_per_step} clips per step.

| quantity | value |
|---|---|
{rows}

{verdict}{note}

Model FLOPs count two for each multiply-add of the forward pass, and twice as
many for the backward pass. "Step alone" runs on a batch that is on the devices
already. Times are medians, with the 10th and 90th percentile. The share of
flattening is the time that normalizing and flattening take more than
normalizing, each compiled alone; within the step they may be fused with other
operations.

## The trace

A few steps, on devices and host, are in `{trace}`. In a browser:

    pip install xprof
    xprof --logdir={trace}

or open the newest `perfetto_trace.json.gz` below it at https://ui.perfetto.dev.
"""

_NO_IMAGES = """

All measured steps are on videos; steps on images (`data.images`) are not."""


def page(figures: Mapping[str, Any], data: Mapping) -> str:
  """Returns profile.md; `data` is the run's `config.data`."""
  layout, image = figures['layout'], ' x '.join(map(str, figures['image']))
  layout = f'flattened ({layout}) to {image} px'
  machine = figures['machine']
  return _PAGE.format(
    **figures
    | {'layout': 'as clips' if figures['layout'] == 'clips' else layout},
    jax=machine['libraries']['jax'],
    commit=machine['commit'],
    rows='\n'.join(f'| {name} | {text} |' for name, text in rows(figures)),
    verdict=verdict(figures),
    note=_NO_IMAGES if data.get('images') else '',
  )


def rows(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
  """Returns (quantity, value), the most important first."""
  f = figures
  workers, threads = f['readers']
  readers = f'{workers} processes x {threads}' if workers else threads
  peak = 'the peak of this device is unknown'
  if f['peak_tflops']:
    peak = (
      f'{f["peak_percent"]:.1f} % of a peak of {f["peak_tflops"]:,.0f} TFLOP/s'
    )
  memory = (
    f'state and batch {_size(f["memory_arguments"])}, intermediate values '
    f'{_size(f["memory_temporary"])}, as compiled'
  )
  if used := [count for count in f['memory_peak'] if count]:
    memory += f'; at most {_size(max(used))} in use'
  cached = ', from the cache' if f['compile_cached'] else ''
  return [
    (
      'training',
      f'{f["clips_per_second"]:,.1f} clips/s, waiting for videos '
      f'{f["waiting_percent"]:.0f} % of the time',
    ),
    (
      'step alone',
      f'{f["step_clips_per_second"]:,.1f} clips/s, {_times(f, "step")}',
    ),
    (
      'input alone',
      f'{f["input_clips_per_second"]:,.1f} clips/s, read by {readers} threads; '
      f'{f["cpu_ms_per_clip"]:.1f} ms per clip on one of {f["cores"]} cores',
    ),
    (
      'model FLOPs',
      f'{_flop(f["tflop_per_step"])} per step, {_flop(f["tflops"])}/s: {peak}',
    ),
    (
      'normalize and flatten, alone',
      f'{f["prepare_percent"]:.2f} % of the step, flattening itself '
      f'{f["layout_percent"]:.2f} %; {_times(f, "prepare")}',
    ),
    ('memory of each device', memory),
    ('compiling the step', f'{f["compile_seconds"]:.1f} s{cached}'),
  ]


def _times(figures: Mapping[str, Any], name: str) -> str:
  """Formats e.g. '12.1 ms (12.0 to 12.5, 30 times)'."""
  median, low, high = (
    f'{figures[f"{name}_ms{suffix}"]:.4g}' for suffix in ('', '_p10', '_p90')
  )
  return f'{median} ms ({low} to {high}, {figures[f"{name}_count"]} times)'


def _flop(tera: float) -> str:
  """Formats 0.0021 as '2.1 GFLOP'."""
  return f'{tera:.1f} TFLOP' if tera >= 1 else f'{1e3 * tera:.3g} GFLOP'


def _size(count: float) -> str:
  """Formats a number of bytes."""
  return (
    f'{count / 2**30:.2f} GiB' if count >= 2**30 else f'{count / 2**20:.1f} MiB'
  )


def verdict(figures: Mapping[str, Any]) -> str:
  """Returns which part limits the speed, and the remedy."""
  if figures['waiting_percent'] > throughput.MAX_INPUT_WAIT:
    return 'The input limits the speed: docs/performance.md lists remedies.'
  ratio = figures['input_clips_per_second'] / figures['step_clips_per_second']
  return (
    f'The step limits the speed: the input alone makes {ratio:.1f} times as '
    'many clips as the step takes.'
  )
