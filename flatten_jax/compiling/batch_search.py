# SPDX-License-Identifier: Apache-2.0
"""Finds the largest batch of a machine that is not here."""

from collections.abc import Callable, Mapping
import logging
import math
from typing import Any

from flatten_jax.compiling import page

log = logging.getLogger('flatten_jax')


def search(
  spec: Mapping[str, Any],
  known: Mapping[str, Any],
  remat: bool,
  compile_one: Callable[[dict[str, Any]], dict[str, Any]],
) -> dict[str, Any]:
  """Finds the most clips of a chip that fit.

  Args:
    spec: see `program`.
    known: the training step that was compiled, for the size of a batch.
    remat: whether blocks are computed twice instead of being stored.
    compile_one: compiles what a `spec` describes, see `compile_for`.

  Returns:
    'clips_per_chip' that fit, 0 if one does not, and their 'batch_size';
    'command', flags for a run with it, or ''; 'stopped', 'memory' if the next
    larger batch does not fit, 'limit' if none was tried.
  """
  config = dict(spec['config']) | {
    'model': dict(spec['config']['model']) | {'remat': remat},
    'grad_accum_steps': 1,
  }
  repeated = config['data']['repeated_aug']
  parts = known['mesh']['data']
  unit = fewest_videos(config, parts)

  def fits(units: int) -> bool:
    videos = units * unit
    own = config | {'batch_size': videos * parts}
    one = compile_one({**spec, 'config': own, 'program': 'train'})
    text = 'remat=%s, %d clips a chip: %s'
    log.info(text, remat, videos * repeated, page.summary(one))
    return one['fits']

  units, stopped = largest_that_fits(fits)
  videos = units * unit
  flags = [f'--config.batch_size={videos * parts}']
  if spec['config']['grad_accum_steps'] != 1:
    flags.append('--config.grad_accum_steps=1')
  if spec['config']['model']['remat'] != remat:
    flags.append(f'--config.model.remat={remat}')
  return {
    'clips_per_chip': videos * repeated,
    'batch_size': videos * parts,
    'command': ' '.join(flags) if videos else '',
    'stopped': stopped,
  }


def fewest_videos(config: Mapping[str, Any], parts: int) -> int:
  """Returns the fewest videos of a part of a batch that divides into groups."""
  keys = 'batch_norm_groups', 'grad_clip_groups'
  groups = math.lcm(*(config[key] or 1 for key in keys))
  return groups // math.gcd(groups, parts * config['data']['repeated_aug'])


def largest_that_fits(
  fits: Callable[[int], bool], limit: int = 1024
) -> tuple[int, str]:
  """Returns the largest number that fits, to an eighth: 1 to 8, 9, 10, ...

  Doubles until one does not fit, then halves the distance.

  Returns:
    The number, and 'memory', or 'limit' if a larger one may fit too.
  """
  low, high = 0, 1
  while high <= limit and fits(high):
    low, high = high, 2 * high
  if high > limit:
    return low, 'limit'
  while high - low > max(1, low // 8):
    middle = (low + high) // 2
    if fits(middle):
      low = middle
    else:
      high = middle
  return low, 'memory'
