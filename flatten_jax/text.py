# SPDX-License-Identifier: Apache-2.0
"""Makes names of files and classes safe for terminals, files and figures.

A name may contain anything: `$`, which starts a formula in matplotlib, line
ends, or bytes that are not UTF-8, which Python keeps as surrogates.
"""

UNKNOWN = '\N{REPLACEMENT CHARACTER}'


def sanitize(name: str) -> str:
  """Replaces unprintable characters, so that a name fits on one line."""
  return ''.join(c if c.isprintable() else UNKNOWN for c in name)


def escape_surrogates(text: str) -> str:
  """Writes bytes that are not UTF-8 as escapes, and keeps line ends."""
  return text.encode('utf-8', 'backslashreplace').decode()


def escape_mathtext(text: str) -> str:
  """Escapes what matplotlib would draw as a formula or could not draw."""
  return escape_surrogates(text).replace('$', r'\$')
