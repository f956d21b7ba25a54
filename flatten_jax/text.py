# SPDX-License-Identifier: Apache-2.0
"""Names of files and classes, as terminals, files, pages and figures take them.

A name may hold anything: `$`, which begins a formula, a line's end, or bytes
that are no UTF-8, which Python keeps as surrogates.
"""

UNKNOWN = '\N{REPLACEMENT CHARACTER}'


def printable(name: str) -> str:
  """A name that any terminal and any file takes, on one line."""
  return ''.join(c if c.isprintable() else UNKNOWN for c in name)


def encodable(text: str) -> str:
  """A text that can be written as UTF-8; lines stay, odd bytes are named."""
  return text.encode('utf-8', 'backslashreplace').decode()


def in_figure(text: str) -> str:
  """A text in which matplotlib sees no formula, and which it can draw."""
  return encodable(text).replace('$', r'\$')
