# SPDX-License-Identifier: Apache-2.0
"""Names of any length and script fit into lines, file names and figures."""

from matplotlib.figure import Figure
import pytest

from flatten_jax import text


@pytest.mark.parametrize(
  ('name', 'lines'),
  [
    ('short', ['short']),
    ('two words that break', ['two words', 'that break']),
    ('unbreakable_name', ['unbreakabl', 'e_name']),
    ('打篮球和踢足球', ['打篮球和踢', '足球']),  # Each is two letters wide.
    ('first\nsecond line', ['first', 'second', 'line']),
    ('', ['']),
  ],
)
def test_every_letter_of_a_name_is_in_lines_of_a_width(name, lines):
  assert text.wrap(name, 10).split('\n') == lines


def test_a_name_that_is_left_out_in_part_ends_in_an_ellipsis():
  assert text.wrap('one two three four five', 9, 2) == 'one two\nthree …'


def test_the_end_of_a_name_fits_a_file_name():
  name = text.shorten_bytes(100 * '打', 200)
  assert name == 66 * '打'
  assert text.shorten_bytes('kurz', 200) == 'kurz'


@pytest.mark.parametrize(
  'name',
  [
    '打篮球',
    '🏃\u200d♀️ x',
    'كرة',
    'ריצה',
    'हिन्दी',
    '$x^2$',
    '<b>&',
    'caf\udce9',
  ],
)
def test_a_figure_has_names_of_any_script_without_a_warning(tmp_path, name):
  figure = Figure((2, 1))
  figure.suptitle(text.escape_mathtext(name))
  text.save_figure(figure, tmp_path / 'name.png')
  assert (tmp_path / 'name.png').stat().st_size
