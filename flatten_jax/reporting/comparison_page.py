# SPDX-License-Identifier: Apache-2.0
"""Writes report.html of a comparison: its table and pictures in one file."""

import base64
import json
import pathlib

from flatten_jax.reporting import comparison, html_template

PICTURES = ('compare.png', 'loss_curves.png')


def is_comparison(workdir: pathlib.Path) -> bool:
  """Returns whether a workdir is one of `--mode=compare`."""
  return (workdir / 'compare.json').exists()


def write(workdir: pathlib.Path) -> pathlib.Path:
  """Writes the page of a workdir of `--mode=compare`; returns its path."""
  found = json.loads((workdir / 'compare.json').read_text())
  # A kill may have left pictures of fewer systems, or none.
  comparison.write(found, workdir)
  rows = comparison.figures(found['systems'])
  unbeaten = comparison.unbeaten(rows)
  text = html_template.load('comparison.html').render(
    summary=comparison.summary(found).replace('`', ''),
    rows=[
      {
        'cells': comparison.cells(row),
        'top1': row['top1'],
        'low': row['top1_low'],
        'high': row['top1_high'],
        'unbeaten': number in unbeaten,
      }
      for number, row in enumerate(rows)
    ],
    chance=comparison.chance_of(found),
    legend=comparison.LEGEND,
    where=comparison.where(found),
    pictures={name: _data_uri(workdir / name) for name in PICTURES},
  )
  page = workdir / 'report.html'
  page.write_text(text, encoding='utf-8')
  return page


def _data_uri(path: pathlib.Path) -> str:
  data = base64.b64encode(path.read_bytes()).decode()
  return f'data:image/png;base64,{data}'
