# SPDX-License-Identifier: Apache-2.0
"""Makes names safe for terminals and figures; finds what a typo meant.

A name may contain anything: `$`, which starts a formula in matplotlib, line
ends, or bytes that are not UTF-8, which Python keeps as surrogates.
"""

from collections.abc import Iterable
import difflib

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


def nearest(word: str, choices: Iterable[str], cutoff: float = 0.6) -> str:
  """Returns the choice that a mistyped word is closest to; '' if none is.

  Case, hyphens and underscores do not count.
  """
  plain = {_plain(choice): choice for choice in choices}
  found = difflib.get_close_matches(_plain(word), plain, n=1, cutoff=cutoff)
  return plain[found[0]] if found else ''


def did_you_mean(word: object, choices: Iterable[str]) -> str:
  """Returns " Did you mean '...'?" for a short list, or '' if none is close."""
  word = getattr(word, '__name__', str(word))  # Of jnp.bfloat16, for example.
  close = nearest(word, choices, cutoff=0.5)
  return f' Did you mean {close!r}?' if close else ''


def _plain(word: str) -> str:
  return word.lower().replace('-', '').replace('_', '')
