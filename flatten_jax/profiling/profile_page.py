# SPDX-License-Identifier: Apache-2.0
"""Texts of a profile: profile.md and the lines on the console."""

from collections.abc import Mapping
from typing import Any

from flatten_jax.profiling.memory import gib
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

# By quantity, the most important first; `rows` explains the upper-case names.
_ROWS = {
  'training': '{clips_per_second:,.1f} clips/s, waiting for videos '
  '{waiting_percent:.0f} % of the time',
  'step alone': '{step_clips_per_second:,.1f} clips/s, {STEP_TIMES}',
  'input alone': '{input_clips_per_second:,.1f} clips/s, read by {READERS} '
  'threads; {cpu_ms_per_clip:.1f} ms per clip on one of {cores} cores',
  'model FLOPs': '{STEP_FLOPS} per step, {FLOPS}/s: {PEAK}',
  'normalize and flatten, alone': '{prepare_percent:.2f} % of the step, '
  'flattening itself {layout_percent:.2f} %; {PREPARE_TIMES}',
  'memory of each device': 'state and batch {KEPT}, intermediate values '
  '{TEMPORARY}, as compiled{USED}',
  'compiling the step': '{compile_seconds:.1f} s{CACHED}',
}


def page(figures: dict[str, Any], data: Mapping) -> str:
  """Returns profile.md; `data` is the run's `config.data`."""
  image = ' x '.join(map(str, figures['image']))
  machine = figures['machine']
  return _PAGE.format_map(
    figures
    | {
      'layout': f'{figures["layout"]}: {image} px',
      'jax': machine['libraries']['jax'],
      'commit': machine['commit'],
      'rows': '\n'.join(f'| {name} | {text} |' for name, text in rows(figures)),
      'verdict': verdict(figures),
      'note': _NO_IMAGES if data.get('images') else '',
    }
  )


def rows(figures: dict[str, Any]) -> list[tuple[str, str]]:
  """Returns (quantity, value), the most important first."""
  workers, threads = figures['readers']
  used = [count for count in figures['memory_peak'] if count]
  peak = 'the peak of this device is unknown'
  if figures['peak_tflops']:
    peak = '{peak_percent:.1f} % of a peak of {peak_tflops:,.0f} TFLOP/s'
  texts = figures | {
    'STEP_TIMES': _times(figures, 'step'),
    'PREPARE_TIMES': _times(figures, 'prepare'),
    'READERS': f'{workers} processes x {threads}' if workers else threads,
    'STEP_FLOPS': _flop(figures['tflop_per_step']),
    'FLOPS': _flop(figures['tflops']),
    'PEAK': peak.format_map(figures),
    'KEPT': gib(figures['memory_arguments']),
    'TEMPORARY': gib(figures['memory_temporary']),
    'USED': f'; at most {gib(max(used))} in use' if used else '',
    'CACHED': ', from the cache' if figures['compile_cached'] else '',
  }
  return [(name, text.format_map(texts)) for name, text in _ROWS.items()]


def _times(figures: dict[str, Any], name: str) -> str:
  """Formats e.g. '12.1 ms (12.0 to 12.5, 30 times)'."""
  return (
    f'{figures[f"{name}_ms"]:.4g} ms ({figures[f"{name}_ms_p10"]:.4g} to '
    f'{figures[f"{name}_ms_p90"]:.4g}, {figures[f"{name}_count"]} times)'
  )


def _flop(tera: float) -> str:
  """Formats 0.0021 as '2.1 GFLOP'."""
  return f'{tera:.1f} TFLOP' if tera >= 1 else f'{1e3 * tera:.3g} GFLOP'


def verdict(figures: dict[str, Any]) -> str:
  """Returns which part limits the speed, and the remedy."""
  if figures['waiting_percent'] > throughput.MAX_INPUT_WAIT:
    return 'The input limits the speed: docs/performance.md lists remedies.'
  ratio = figures['input_clips_per_second'] / figures['step_clips_per_second']
  return (
    f'The step limits the speed: the input alone makes {ratio:.1f} times as '
    'many clips as the step takes.'
  )
