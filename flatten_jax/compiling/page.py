# SPDX-License-Identifier: Apache-2.0
"""The page of `--mode=compile`."""

import collections
from collections.abc import Mapping
from typing import Any

import tabulate

NAMES = {'train': 'the training step', 'evaluate': 'the evaluation step'}


def summary(found: Mapping[str, Any]) -> str:
  """Returns a line about a program."""
  memory = _size(found['memory_bytes'])
  fits = f'fits, {memory} a chip' if found['fits'] else 'does not fit'
  again = ', some of it computed twice by XLA' * bool(found['recomputed'])
  why = f' ({found["why"]})' * (not found['fits'])
  return f'{fits}{why}{again}; compiled in {found["seconds"]:.0f} s'


def page(found: Mapping[str, Any]) -> str:
  """Returns the page as Markdown."""
  facts, tested = found['train'], found['evaluate']
  clip, test_clip = (
    f'{x["frames"]} frames of {x["crop"]} px' for x in (facts, tested)
  )
  if test_clip != clip:
    clip += f' (evaluation {test_clip})'
  mesh = ' x '.join(f'{axis} {size}' for axis, size in facts['mesh'].items())
  parts = [
    f'# {facts["model"]} on {found["machine"]}\n',
    f'{facts["devices"]} x {facts["device_kind"]} in {facts["hosts"]} '
    f'{"host" if facts["hosts"] == 1 else "hosts"}, mesh {mesh}, '
    f'{facts["sharding"]}; {facts["dtype"]}, {facts["layout"]}, '
    f'{clip}, {found["classes"]} classes. Compiled, not run.\n',
  ]
  for program, name in NAMES.items():
    parts.append(f'## {name[0].upper()}{name[1:]}\n')
    parts.append(_table(rows(found[program])))
    if found[program]['collectives']:
      parts.append('Messages between chips, of one step:\n')
      parts.append(_collectives(found[program]['collectives']))
    parts.append('The largest buffers of a chip:\n')
    parts.append(_buffers(found[program]['buffers']))
  if 'largest' in found:
    parts.append('## The largest batch\n')
    parts.append(_largest(found['largest']))
  return '\n'.join(parts)


def rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
  """Returns the figures of a program in words."""
  ours, theirs = found['our_gmacs_per_chip'], found['gmacs_per_chip']
  ratio = f', {theirs / ours:.2f} times our count of {ours:.1f}' if ours else ''
  again = found['recomputed']
  result = [
    ('clips', f'{found["clips"]}, {found["clips_per_chip"]:g} a chip'),
    ('fits', 'yes' if found['fits'] else f'no: {found["why"]}'),
    ('memory of a chip', _size(found['memory_bytes'])),
    ('of which state', _size(found['state_bytes'])),
    ('computed twice by XLA', f'{again} operations' if again else 'nothing'),
    ('remat', 'on' if found['remat'] else 'off'),
    ('10^9 multiply-adds of a chip', f'{theirs:.1f}{ratio}'),
    *((kind, form) for kind, form in found['forms'].items()),
    ('host callbacks', str(found['host_callbacks'])),
  ]
  return result


def _table(pairs: list[tuple[str, str]]) -> str:
  return tabulate.tabulate(pairs, ('', ''), tablefmt='github') + '\n'


def _collectives(found: list[Mapping[str, Any]]) -> str:
  table = [
    (row['kind'], row['dtype'], row['messages'], f'{row["bytes"] / 1e6:.2f}')
    for row in found
  ]
  header = ('kind', 'type', 'messages', 'MB')
  return tabulate.tabulate(table, header, tablefmt='github') + '\n'


def _buffers(found: list[Mapping[str, Any]]) -> str:
  counts = collections.Counter(
    (_size(row['bytes']), row['value'], f'{row["padding"]:.2f}')
    for row in found
  )
  table = [(count, *row) for row, count in counts.items()]
  header = ('', 'size', 'largest value', 'times its elements')
  return tabulate.tabulate(table, header, tablefmt='github') + '\n'


def _largest(found: Mapping[str, Mapping[str, Any]]) -> str:
  table = [
    (
      'on' if remat == 'True' else 'off',
      f'{row["clips_per_chip"]}{" or more" * (row["stopped"] == "limit")}',
      row['command'],
    )
    for remat, row in found.items()
  ]
  header = ('remat', 'clips a chip', 'flag')
  return tabulate.tabulate(table, header, tablefmt='github') + '\n'


def _size(count: float) -> str:
  """Formats bytes."""
  if count >= 2**30:
    return f'{count / 2**30:.2f} GiB'
  return f'{count / 2**20:.1f} MiB'
