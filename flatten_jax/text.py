# SPDX-License-Identifier: Apache-2.0
"""Makes names safe for terminals and figures; finds what a typo meant.

A name may contain anything: `$`, which starts a formula in matplotlib, line
ends, or bytes that are not UTF-8, which Python keeps as surrogates.
"""

from collections.abc import Iterable
import difflib
import os
import textwrap
from typing import Any, BinaryIO
import unicodedata
import warnings

# They make one emoji of several, which are drawn one by one.
_JOINERS = '\N{ZERO WIDTH JOINER}\N{VARIATION SELECTOR-16}'
UNKNOWN = '\N{REPLACEMENT CHARACTER}'


def sanitize(name: str) -> str:
  """Replaces unprintable characters, so that a name fits on one line."""
  return ''.join(c if c.isprintable() else UNKNOWN for c in name)


def escape_surrogates(text: str) -> str:
  """Writes bytes that are not UTF-8 as escapes, and keeps line ends."""
  return text.encode('utf-8', 'backslashreplace').decode()


def escape_mathtext(text: str) -> str:
  """Escapes what matplotlib would draw as a formula or could not draw."""
  text = text.translate(dict.fromkeys(map(ord, _JOINERS)))
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


def wrap(text: str, width: int, max_lines: int | None = None) -> str:
  """Breaks text into lines of `width` letters; an ellipsis ends what is left.

  Long words are broken too, and wide letters, as Chinese ones, count twice.
  """
  wide = {c for c in text if unicodedata.east_asian_width(c) in 'WF'}
  text = text.translate({ord(c): f'{c}\0' for c in wide})  # \0: a filler.
  more = {'max_lines': max_lines, 'placeholder': ' \N{HORIZONTAL ELLIPSIS}'}
  lines = [textwrap.fill(x, max(width, 3), **more) for x in text.split('\n')]
  return '\n'.join(lines).replace('\0', '')


def shorten_bytes(name: str, count: int) -> str:
  """Returns the end of a name, of at most `count` bytes of UTF-8."""
  return name.encode()[-count:].decode(errors='ignore')


# Fonts of the usual systems, by preference, for letters that the first lacks.
FONTS = (
  'DejaVu Sans',
  *('Noto Sans CJK SC', 'Noto Sans CJK JP', 'Noto Sans SC', 'Noto Sans JP'),
  *('PingFang SC', 'Hiragino Sans', 'Microsoft YaHei', 'Yu Gothic'),
  *('WenQuanYi Zen Hei', 'WenQuanYi Micro Hei', 'Droid Sans Fallback'),
  *('Noto Sans Arabic', 'Noto Sans Hebrew', 'Noto Sans Devanagari'),
  *('Noto Sans Thai', 'Noto Sans KR', 'Apple SD Gothic Neo', 'Malgun Gothic'),
  *('Nirmala UI', 'Segoe UI Emoji', 'Noto Emoji', 'Arial Unicode MS'),
)


def save_figure(
  figure: Any, path: str | os.PathLike | BinaryIO, **options: Any
) -> None:
  """Saves a matplotlib figure whose names may be in any script.

  Letters that none of `FONTS` has are drawn as boxes, without a warning.
  """
  from matplotlib import font_manager, text  # Not where nothing is drawn.

  installed = {font.name for font in font_manager.fontManager.ttflist}
  families = [name for name in FONTS if name in installed]
  for item in figure.findobj(text.Text):
    item.set_fontfamily(families)
  with warnings.catch_warnings():
    warnings.filterwarnings('ignore', 'Glyph .* missing from')
    warnings.filterwarnings('ignore', 'Matplotlib currently does not support')
    figure.savefig(path, **options)


def font_file(text: str) -> str:
  """Returns the file of the first of `FONTS` that has all letters of a text.

  If none has, it is the first that is installed.
  """
  from matplotlib import font_manager, ft2font  # Not where nothing is drawn.

  installed = {font.name for font in font_manager.fontManager.ttflist}
  files = [font_manager.findfont(name) for name in FONTS if name in installed]
  letters = set(map(ord, text)) - {ord('\n')}
  for file in files:
    if letters <= set(ft2font.FT2Font(file).get_charmap()):
      return file
  return files[0]
