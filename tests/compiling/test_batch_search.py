# SPDX-License-Identifier: Apache-2.0
"""The search for the largest batch of a machine that is not here."""

import pytest

from flatten_jax.compiling import batch_search, page


@pytest.mark.parametrize('most', [0, 1, 2, 5, 8, 13, 100])
def test_the_largest_batch_is_found_to_an_eighth(most):
  tried = []

  def fits(number):
    tried.append(number)
    return number <= most

  found, stopped = batch_search.largest_that_fits(fits)
  assert stopped == 'memory'
  assert found <= most <= found + max(1, found // 8) - (found < 8)
  assert len(tried) == len(set(tried)) < 14


@pytest.mark.parametrize(
  ('groups', 'parts', 'repeated', 'fewest'),
  [(0, 1, 1, 1), (8, 1, 1, 8), (8, 4, 1, 2), (8, 4, 2, 1), (12, 8, 1, 3)],
)
def test_the_search_tries_batches_that_divide_into_groups(
  groups, parts, repeated, fewest
):
  config = {'batch_norm_groups': groups, 'grad_clip_groups': 1}
  config['data'] = {'repeated_aug': repeated}
  assert batch_search.fewest_videos(config, parts) == fewest


def test_the_search_ends_at_its_limit():
  found = batch_search.largest_that_fits(lambda _: True, limit=64)
  assert found == (64, 'limit')


@pytest.mark.parametrize(
  ('accumulated', 'flags'), [(1, ''), (5, ' --config.grad_accum_steps=1')]
)
def test_batches_are_compiled_until_one_does_not_fit(accumulated, flags):
  def compile_one(spec):
    sizes.append(spec['config']['batch_size'])
    assert spec['program'] == 'train' and spec['config']['model']['remat']
    assert spec['config']['grad_accum_steps'] == 1
    fits = sizes[-1] <= 24
    found = {'fits': fits, 'why': '', 'memory_bytes': 1}
    return found | {'recomputed': 0, 'seconds': 1}

  sizes = []
  config = {'batch_size': None, 'batch_norm_groups': 0, 'grad_clip_groups': 1}
  config['grad_accum_steps'] = accumulated
  config |= {'model': {'remat': False}, 'data': {'repeated_aug': 2}}
  found = batch_search.search(
    {'config': config, 'machine': 'v5e:2x2'},
    {'mesh': {'data': 4}},
    remat=True,
    compile_one=compile_one,
  )
  assert (found['clips_per_chip'], found['batch_size']) == (12, 24)
  command = f'--config.batch_size=24{flags} --config.model.remat=True'
  assert found['command'] == command
  assert sizes == [4, 8, 16, 32, 24, 28]


def test_the_page_tells_what_ended_the_search():
  row = {'command': '--config.batch_size=1024', 'batch_size': 1024}
  row['clips_per_chip'] = 1024
  nothing = {'clips_per_chip': 0, 'batch_size': 0, 'command': ''}
  found = {
    'False': nothing | {'stopped': 'memory'},
    'True': row | {'stopped': 'limit'},
  }
  text = ' '.join(page._largest(found).split())
  assert '| off | 0 | |' in text
  assert '| on | 1024 or more | --config.batch_size=1024 |' in text
