# SPDX-License-Identifier: Apache-2.0
"""Makes the notebooks open in Colab by a badge, once the repository is public.

python colabs/set_address.py OWNER/NAME       # of the repository on GitHub

Writes the address into the first cell of code, which then clones the
repository, and a badge into each notebook and next to its link in README.md.
Commit what it changes. Another address later replaces this one.
"""

import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
_BADGE = r'\[!\[Open in Colab\]\([^)]*\)\]\([^)]*\)'


def badge(repository: str, name: str) -> str:
  """Returns the Markdown of a badge that opens a notebook.

  Args:
    repository: 'owner/name' on GitHub, whose branch is `main`.
    name: of the notebook, without suffix.
  """
  colab = 'https://colab.research.google.com'
  return (
    f'[![Open in Colab]({colab}/assets/colab-badge.svg)]'
    f'({colab}/github/{repository}/blob/main/colabs/{name}.ipynb)'
  )


def in_notebook(text: str, repository: str, name: str) -> str:
  """Returns the text of a notebook with the address and the badge."""
  notebook = json.loads(text)
  title, setup = notebook['cells'][:2]
  source = re.sub(rf'\A{_BADGE}\n\n', '', ''.join(title['source']))
  source = f'{badge(repository, name)}\n\n{source}'
  title['source'] = source.splitlines(keepends=True)
  source, count = re.subn(
    r"^ADDRESS = '.*'",
    f"ADDRESS = 'https://github.com/{repository}'",
    ''.join(setup['source']),
    flags=re.MULTILINE,
  )
  if count != 1:
    raise ValueError(f'{name}: the first cell of code has no ADDRESS.')
  setup['source'] = source.splitlines(keepends=True)
  return json.dumps(notebook, indent=1, ensure_ascii=False) + '\n'


def in_page(text: str, repository: str) -> str:
  """Returns a page with a badge after each link to a notebook."""
  return re.sub(
    rf'(\[\w+\]\(colabs/(\w+)\.ipynb\))( {_BADGE})?',
    lambda link: f'{link[1]} {badge(repository, link[2])}',
    text,
  )


def set_address(root: pathlib.Path, repository: str) -> None:
  """Writes the address of a repository into the files of a clone."""
  if not re.fullmatch(r'[\w.-]+/[\w.-]+', repository):
    raise ValueError(f'Expected OWNER/NAME on GitHub; got {repository!r}.')
  for path in sorted((root / 'colabs').glob('*.ipynb')):
    path.write_text(in_notebook(path.read_text(), repository, path.stem))
  readme = root / 'README.md'
  readme.write_text(in_page(readme.read_text(), repository))


if __name__ == '__main__':
  if len(sys.argv) != 2:
    sys.exit(__doc__)
  try:
    set_address(ROOT, sys.argv[1])
  except ValueError as error:
    sys.exit(str(error))
