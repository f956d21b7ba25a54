# SPDX-License-Identifier: Apache-2.0
"""Tables of runs that were compiled for other machines, for docs/scale.md.

  python main.py --mode=compile --config=... --topology=v5e:4x4 --workdir=runs/a
  python -m benchmarks.scale runs/a runs/b ...

The second table is a roofline: what a step would take if the chip reached its
peak, if messages had the links for themselves, and how many cores decode the
clips of a chip meanwhile. Nothing of it was run.
"""

import argparse
import json
import pathlib
from typing import Any

import tabulate

from flatten_jax.profiling.peak import peak_flops

# GB/s between a chip and its neighbors in one direction, from data sheets: of
# TPUs the inter-chip links, of GPUs NVLink, whose sheets give both together.
LINKS = {
  'TPU v4': 300,
  'TPU v5 lite': 200,
  'TPU v5': 600,
  'TPU v6 lite': 400,
  'TPU7x': 300,  # Half of a chip's, which is two devices.
  'NVIDIA A100-SXM4-80GB': 300,
  'NVIDIA H100 80GB HBM3': 450,
  'NVIDIA H200': 450,
}
CLIPS_PER_CORE = 12  # A second; docs/devices.md.


def compiled_row(found: dict[str, Any]) -> list[str]:
  """Returns what was compiled, as a row of the first table."""
  step = found['train']
  moved: dict[str, list[float]] = {}
  for row in step['collectives']:
    both = moved.setdefault(f'{row["kind"]} {row["dtype"]}', [0, 0])
    both[0] += row['messages']
    both[1] += row['bytes'] / 1e6
  largest = sorted(moved.items(), key=lambda item: -item[1][1])[:3]
  messages = '; '.join(
    f'{count:g} {kind} {size:.1f}' for kind, (count, size) in largest
  )
  repeated = f', XLA repeats {step["recomputed"]}' if step['recomputed'] else ''
  return [
    step['model'],
    f'{found["machine"]} {step["sharding"]}',
    f'{step["clips_per_chip"]:g}',
    ('yes' if step['fits'] else 'no') + repeated,
    f'{step["memory_bytes"] / 2**30:.2f}',
    f'{step["gmacs_per_chip"] / step["our_gmacs_per_chip"]:.2f}',
    messages,
  ]


def roofline_row(found: dict[str, Any]) -> list[str]:
  """Returns the limits of a step, as a row of the second table."""
  step = found['train']
  peak = peak_flops(step['device_kind'], step['dtype'])
  link = LINKS.get(step['device_kind'])
  moved = sum(
    row['bytes'] * (2 if row['kind'] == 'all-reduce' else 1)
    for row in step['collectives']
  )
  row = [
    step['model'],
    f'{found["machine"]} {step["sharding"]}',
    '',
    f'{1e3 * moved / (1e9 * link):.1f}' if link else '',
    *('', '', ''),
  ]
  if peak:
    seconds = 2e9 * step['gmacs_per_chip'] / peak
    clips = step['clips_per_chip'] * step['mesh']['data'] / step['devices']
    rate = clips / seconds
    row[2] = f'{1e3 * seconds:.0f}'
    row[4:] = [
      f'{rate:.0f}',
      f'{0.4 * rate / CLIPS_PER_CORE:.0f}',
      f'{0.4 * rate * step["devices"]:.0f}',
    ]
  return row


def main(argv: list[str] | None = None) -> None:
  """Prints the tables of the workdirs."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('workdirs', nargs='+', type=pathlib.Path)
  found = [
    json.loads((path / 'compile.json').read_text())
    for path in parser.parse_args(argv).workdirs
  ]
  for header, row in (
    (
      ('model', 'machine', 'clips a chip', 'fits', 'GiB', 'work', 'messages'),
      compiled_row,
    ),
    (
      (
        'model',
        'machine',
        'ms at peak',
        'ms of messages',
        'clips/s of a chip at peak',
        'cores a chip at 40 %',
        'clips/s in all at 40 %',
      ),
      roofline_row,
    ),
  ):
    print(tabulate.tabulate(map(row, found), header, tablefmt='github'), '\n')


if __name__ == '__main__':
  main()
