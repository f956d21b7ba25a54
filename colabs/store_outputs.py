# SPDX-License-Identifier: Apache-2.0
"""Runs notebooks as they are and stores their outputs, without what is noise.

python colabs/store_outputs.py                # all of them
python colabs/store_outputs.py flatten_tour
"""

import base64
import io
import os
import pathlib
import re
import sys
import time

import nbclient
import nbformat
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]
LONGEST = 6000  # Characters of an output that is text.
# Lines of progress, and the time of day at the beginning of others.
_NOISE = re.compile(
  r'^(\d\d:\d\d:\d\d  )?(\w+: \d+ of \d+ \w+(, .* left)?\n)?', re.MULTILINE
)
# The choices of `configs/folder.py`, which each function logs.
_CHOICES = re.compile(r'^(Chosen for .*)\n(?:  --config.*\n)+', re.MULTILINE)
_LARGE = 60_000  # Bytes of a picture that gets a palette.


def store(path: pathlib.Path) -> None:
  """Runs a notebook from its beginning, in a new folder below runs/."""
  notebook = nbformat.read(path, as_version=4)
  (folder,) = re.findall(
    r"^WORK = pathlib.Path\('(.*)'\)$",
    '\n'.join(cell.source for cell in notebook.cells),
    flags=re.MULTILINE,
  )
  if (ROOT / folder).exists():
    sys.exit(f'{folder} has an earlier run: move it away, or delete it.')
  metadata = dict(notebook.metadata)
  client = nbclient.NotebookClient(
    notebook,
    timeout=None,
    kernel_name='python3',
    record_timing=False,
    resources={'metadata': {'path': str(path.parent)}},
  )
  start = time.perf_counter()
  client.execute()
  cells = [cell for cell in notebook.cells if cell.cell_type == 'code']
  for cell in cells:
    cell.outputs = clean(cell.outputs)
  once([output for cell in cells for output in cell.outputs])
  notebook.metadata = nbformat.from_dict(metadata)
  nbformat.write(notebook, path)
  seconds = time.perf_counter() - start
  print(f'{path.name}: {seconds:.0f} s, {path.stat().st_size / 1e3:.0f} kB')


def clean(outputs: list) -> list:
  """Returns outputs as they are stored: no warnings, times and folders."""
  kept = []
  for output in outputs:
    if output.output_type == 'stream' and output.name == 'stderr':
      print('Left out:', output.text, file=sys.stderr)
      continue
    if output.output_type == 'stream':
      output.text = _NOISE.sub('', _without_places(output.text))
      if kept and kept[-1].output_type == 'stream':
        kept[-1].text += output.text
        continue
    data = output.get('data', {})
    for kind in list(data):
      if kind == 'image/png':
        data[kind] = _smaller(data[kind])
      elif len(data[kind]) > LONGEST:  # A page, which needs a browser.
        del data[kind]
      else:
        data[kind] = _without_places(data[kind])
    kept.append(output)
  return kept


def once(outputs: list) -> None:
  """Keeps what was chosen for a run in the first of the outputs with it."""
  found = [o for o in outputs if _CHOICES.search(o.get('text', ''))]
  for output in found[1:]:
    output.text = _CHOICES.sub(r'\1 (as above)\n', output.text)


def _without_places(text: str) -> str:
  """Returns text without the folders of this machine, and without addresses."""
  for place, name in ((f'{ROOT}{os.sep}', ''), (os.path.expanduser('~'), '~')):
    text = text.replace(place, name)
  return re.sub(r' at 0x[0-9a-f]+', '', text)


def _smaller(png: str) -> str:
  """Returns a large picture with a palette of 256 colors."""
  content = base64.b64decode(png)
  if len(content) < _LARGE:
    return png
  picture = Image.open(io.BytesIO(content)).convert('RGB').quantize(256)
  smaller = io.BytesIO()
  picture.save(smaller, 'png', optimize=True)
  return base64.b64encode(smaller.getvalue()).decode()


if __name__ == '__main__':
  os.environ['MPLBACKEND'] = 'module://matplotlib_inline.backend_inline'
  folder = pathlib.Path(__file__).parent
  names = sys.argv[1:] or sorted(path.stem for path in folder.glob('*.ipynb'))
  for name in names:
    store(folder / f'{name}.ipynb')
