# SPDX-License-Identifier: Apache-2.0
"""The page of `--mode=data_sets`: what can be trained on, and how."""

from collections.abc import Iterator
import textwrap

from flatten_jax.command_line.arguments import config_files
from flatten_jax.inputs.sources.published_sets import (
  PUBLISHED_SETS,
  WITH_CONFIGS,
  PublishedSet,
)

_OTHERS = """\
Your own videos, in a folder with one subfolder per class, or in a list
  train    flatten-jax train /videos

Embedded set: twelve motions, rendered on first use: no download
  train    flatten-jax train quickstart
  compare  flatten-jax compare compare

Embedded set to pretrain on: 119 motions
  train    flatten-jax train motions

Embedded set of several labels: none, one or two of ten motions in a video
  train    flatten-jax train quickstart --motions=several --multi_label=True"""
_END = """
data.prepare is in the checkout; data/README.md tells licence and download."""


def page() -> str:
  """Returns all data sets as text."""
  lines = (line for published in PUBLISHED_SETS for line in _lines(published))
  return '\n'.join([_OTHERS, *lines, _END])


def _lines(published: PublishedSet) -> Iterator[str]:
  """Yields the lines about a published set."""
  yield f'\n{published.title}: {published.description}'
  sizes = (f'{count} {split}' for split, count in published.videos.items())
  yield f'  videos   {", ".join(sizes)}; {published.num_classes} classes'
  yield f'  from     {published.homepage}'
  out = f'/prepared/{published.name}'
  yield f'  prepare  python -m data.prepare {published.name} \\'
  yield f'             --annotations=FOLDER --videos=FOLDER --out={out}'
  mode = 'cross_validate' if published.folds else 'train'
  flags = f'--root={out} {published.flags}'.rstrip()
  yield f'  train    flatten-jax {mode} CONFIG {flags}'
  owner = WITH_CONFIGS[published.prefix]
  if owner is not published:
    yield f'  configs  those of {owner.title}'
    return
  names = [name for name in config_files() if name.startswith(published.prefix)]
  yield textwrap.fill(
    ', '.join(names),
    80,
    initial_indent='  configs  ',
    subsequent_indent=' ' * 11,
  )
