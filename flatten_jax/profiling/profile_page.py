# SPDX-License-Identifier: Apache-2.0
"""What a profile found, for people: a page, and the lines of the console."""

from collections.abc import Mapping
from typing import Any

from flatten_jax.training import throughput

_PAGE = """\
# Profile of {model}

{date}, {devices} x {device}, {cores} cores, jax {jax}, commit {commit}.
{frames} frames of {crop} px {laid_out}; {dtype}; {clips_per_step} clips a step.

| what | found |
|---|---|
{rows}

{verdict}{left_out}

Model FLOPs count two for each multiply-add of the forward pass, and twice as
many again for the backward pass. The step alone runs on a batch that is on the
devices already. Times are medians, with the 10th and 90th percentile. The
layout's own share is what normalising and laying out take more than normalising
does, each compiled alone; within the step they may be fused with what follows.

## The trace

A few steps, on devices and host, are in `{trace}`. In a browser:

    pip install xprof
    xprof --logdir={trace}

or open the newest `perfetto_trace.json.gz` below it at https://ui.perfetto.dev.
"""

IMAGES_LEFT_OUT = """

Steps on still images (`data.images`) are not among these: all are of videos."""


def page(figures: Mapping[str, Any], data: Mapping) -> str:
  """Markdown; `data` is the run's `config.data`."""
  laid_out = (
    f'laid out {figures["layout"]}: {" x ".join(map(str, figures["image"]))} px'
  )
  if figures['layout'] == 'clips':
    laid_out = 'as clips'
  machine = figures['machine']
  return _PAGE.format(
    **figures | {'laid_out': laid_out},
    jax=machine['libraries']['jax'],
    commit=machine['commit'],
    rows='\n'.join(f'| {name} | {text} |' for name, text in rows(figures)),
    verdict=verdict(figures),
    left_out=IMAGES_LEFT_OUT if data.get('images') else '',
  )


def lines(figures: Mapping[str, Any]) -> list[str]:
  """The same figures for the console."""
  return [f'{name}: {text}' for name, text in rows(figures)]


def rows(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
  """(what was measured, what was found), the most important first."""
  f = figures
  workers, threads = f['readers']
  readers = f'{workers} processes x {threads}' if workers else threads
  cached = ', from the cache' if f['compile_cached'] else ''
  return [
    (
      'training',
      f'{f["clips_per_second"]:,.1f} clips/s, waiting for videos '
      f'{f["waiting_percent"]:.0f} % of the time',
    ),
    (
      'step alone',
      f'{f["step_clips_per_second"]:,.1f} clips/s, {milliseconds(f, "step")}',
    ),
    (
      'input alone',
      f'{f["input_clips_per_second"]:,.1f} clips/s, read by {readers} threads; '
      f'one of {f["cores"]} cores takes {f["cpu_ms_per_clip"]:.1f} ms for each',
    ),
    (
      'model FLOPs',
      f'{flop(f["tflop_per_step"])} a step, {flop(f["tflops"])}/s: '
      f'{share_of_peak(f)}',
    ),
    (
      'normalise and lay out, alone',
      f'{f["prepare_percent"]:.2f} % of the step, the layout itself '
      f'{f["layout_percent"]:.2f} %; {milliseconds(f, "prepare")}',
    ),
    ('memory of each device', memory(f)),
    ('compiling the step', f'{f["compile_seconds"]:.1f} s{cached}'),
  ]


def share_of_peak(figures: Mapping[str, Any]) -> str:
  """Of what all devices could do at best."""
  peak = figures['peak_tflops']
  if not peak:
    return 'no peak is known for this device'
  share = figures['peak_percent']
  return f'{share:.1f} % of a peak of {peak:,.0f} TFLOP/s'


def milliseconds(figures: Mapping[str, Any], name: str) -> str:
  """'12.1 ms (12.0 to 12.5, 30 times)'."""
  median, low, high = (
    f'{figures[key]:.4g}'
    for key in (f'{name}_ms', f'{name}_ms_p10', f'{name}_ms_p90')
  )
  return f'{median} ms ({low} to {high}, {figures[f"{name}_count"]} times)'


def flop(tera: float) -> str:
  """0.0021 -> '2.1 GFLOP'."""
  return f'{tera:.1f} TFLOP' if tera >= 1 else f'{1e3 * tera:.3g} GFLOP'


def memory(figures: Mapping[str, Any]) -> str:
  """What the compiler plans; what was in use, where the device tells."""
  plan = (
    f'state and batch {size(figures["memory_arguments"])}, intermediate '
    f'values {size(figures["memory_temporary"])}, as compiled'
  )
  peaks = [peak for peak in figures['memory_peak'] if peak]
  if not peaks:
    return plan
  return f'{plan}; at most {size(max(peaks))} in use'


def size(count: float) -> str:
  """Bytes for people."""
  return (
    f'{count / 2**30:.2f} GiB' if count >= 2**30 else f'{count / 2**20:.1f} MiB'
  )


def verdict(figures: Mapping[str, Any]) -> str:
  """What limits the speed, and what to do."""
  if figures['waiting_percent'] > throughput.MAX_INPUT_WAIT:
    return 'The input limits the speed: docs/performance.md lists remedies.'
  ratio = figures['input_clips_per_second'] / figures['step_clips_per_second']
  return (
    f'The step limits the speed: the input, alone, makes {ratio:.1f} times as '
    'many clips as the step takes.'
  )
