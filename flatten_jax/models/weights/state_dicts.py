# SPDX-License-Identifier: Apache-2.0
"""Finds the tensors of a model in what a checkpoint contains.

Training frameworks wrap models and nest their checkpoints: `conv1.weight`
becomes `model._orig_mod.conv1.weight` in `state_dict`. The names that a model
wants tell which part is a prefix, without a list of frameworks.
"""

import collections
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
import dataclasses
import logging
import re
from typing import Any

import ml_dtypes
import numpy as np

from flatten_jax.models.weights import torch_files
from flatten_jax.models.weights.key_names import is_computed

log = logging.getLogger('flatten_jax')

# Wrappers of PyTorch, at any place in a name; none of our names has one.
_WRAPPERS = {
  'module',
  '_orig_mod',
  '_fsdp_wrapped_module',
  '_checkpoint_wrapped_module',
}
# Moving averages, which are the weights to evaluate.
_AVERAGES = re.compile(
  r'(^|[._])(ema|avg|averaged?|swa|shadow|teacher)([._]|$)'
)
# Heads of models and of the frameworks around them.
_HEAD = re.compile(r'(?:^|\.)(?:head|fc|fc_cls|classifier)\.(weight|bias)$')
_FLOATS = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)


@dataclasses.dataclass(frozen=True)
class _Entry:
  """A tensor, its key, and the keys of the mappings around it."""

  container: tuple[str, ...]
  key: str
  value: Any
  name: str  # All keys, without wrappers.


def find(
  content: Any, namings: Sequence[Collection[str]], origin: str
) -> dict[str, np.ndarray]:
  """Returns the tensors of a model by their publisher's names.

  The log says which prefix was left out, which set of weights was taken if
  there are several, and which other tensors were not.

  Args:
    content: mappings and lists with tensors inside.
    namings: the names of the model's tensors, by each publisher.
    origin: name of the source, for messages.

  Raises:
    ValueError: there are no tensors, or those of the model are not numbers.
  """
  entries = list(_entries(content))
  if not entries:
    raise ValueError(
      f'{origin} does not hold named tensors; it has {_outline(content)}. '
      "Save a model's `state_dict()`."
    )
  wanted, prefixes = _prefixes(entries, namings)
  prefix = prefixes[0] if prefixes else ''
  containers = {e.container for e in entries if _below(e, prefix) in wanted}
  containers = containers or {entries[0].container}
  taken, beside = {}, {}
  for entry in entries:
    if entry.container in containers:
      if name := _below(entry, prefix):
        taken[name] = entry
      elif not any(_below(entry, other) in wanted for other in prefixes):
        beside[entry.name] = entry
  _log_choice(taken, prefixes, origin)
  _take_head(taken, beside, wanted)
  others = [name for name in beside if not is_computed(name)]
  if others:
    log.warning('Not of the model, and not used: %s', few(others))
  return _as_arrays({k: e.value for k, e in taken.items()}, wanted, origin)


def temporal_depth(content: Any) -> int:
  """Counts the blocks of a video transformer's temporal encoder; 0 for none."""
  names = (
    '.'.join(keys).replace('/', '.') for keys, _ in _tensors(content, ())
  )
  numbers = (
    re.search(r'(?i)temporal_?(?:transformer|encoder)\.\D*(\d+)', name)
    for name in names
  )
  return max((1 + int(match[1]) for match in numbers if match), default=0)


def few(names: Iterable[str], limit: int = 5) -> str:
  """Formats the first names of many: 'a, b, c, d, e and 85 more'."""
  names = list(names)
  more = f' and {len(names) - limit} more' if len(names) > limit else ''
  return ', '.join(names[:limit]) + more


def _entries(content: Any) -> Iterator[_Entry]:
  """Yields every tensor; a wrapper stays in names that it tells apart."""
  found = list(_tensors(content, ()))
  # Flax joins names by slashes.
  found = [(tuple(k.replace('/', '.') for k in ks), x) for ks, x in found]
  clean = ['.'.join(_without_wrappers('.'.join(keys))) for keys, _ in found]
  count = collections.Counter(clean)
  for (keys, value), name in zip(found, clean, strict=True):
    unique = name if count[name] == 1 else '.'.join(keys)
    yield _Entry(keys[:-1], keys[-1], value, unique)


def _tensors(content: Any, keys: tuple[str, ...]) -> Iterator[tuple]:
  """Yields (keys, tensor) from mappings and lists, not too deep inside."""
  items = ()
  if isinstance(content, Mapping):
    items = content.items()
  elif isinstance(content, list | tuple):
    items = enumerate(content)
  for key, value in items:
    path = (*keys, str(key))
    is_array = hasattr(value, 'shape') and hasattr(value, 'dtype')
    if is_array or isinstance(value, torch_files.Unreadable):
      yield path, value
    elif len(path) < 4:
      yield from _tensors(value, path)


def _without_wrappers(name: str) -> list[str]:
  return [part for part in name.split('.') if part not in _WRAPPERS]


def _prefixes(
  entries: Sequence[_Entry], namings: Sequence[Collection[str]]
) -> tuple[Collection[str], list[str]]:
  """Returns the names that fit best, and prefixes of sets that have them.

  The first set has most of the names; of equal ones it is an average, as in
  timm's loader. Others have at least half as many. No set is of another model.
  """
  best, best_counts = namings[0], collections.Counter()
  for wanted in namings:
    counts = collections.Counter()
    for entry in entries:
      parts = entry.name.split('.')
      for i in range(len(parts)):
        if '.'.join(parts[i:]) in wanted:
          counts['.'.join(parts[:i])] += 1
    if max(counts.values(), default=0) > max(best_counts.values(), default=0):
      best, best_counts = wanted, counts
  ranks = {p: (n, bool(_AVERAGES.search(p))) for p, n in best_counts.items()}
  ordered = sorted(ranks, key=ranks.get, reverse=True)
  most = ranks[ordered[0]][0] if ordered else 0
  if 4 * most < len(best):  # Of another model, with a few names in common.
    return best, []
  return best, [p for p in ordered if 2 * ranks[p][0] >= most]


def _below(entry: _Entry, prefix: str) -> str:
  """Returns the name after a prefix; '' for a name without it."""
  if not prefix:
    return entry.name
  start = f'{prefix}.'
  return entry.name.removeprefix(start) if entry.name.startswith(start) else ''


def _take_head(
  taken: dict[str, _Entry], beside: dict[str, _Entry], wanted: Collection[str]
) -> None:
  """Takes the head that a framework keeps apart from its backbone."""
  for name in wanted - taken.keys():
    if leaf := _HEAD.search(name):
      heads = [
        other
        for other in beside
        if (match := _HEAD.search(other)) and match[1] == leaf[1]
      ]
      if len(heads) == 1:
        log.info('%s of the file is %s', heads[0], name)
        taken[name] = beside.pop(heads[0])


def _log_choice(
  taken: Mapping[str, _Entry], prefixes: Sequence[str], origin: str
) -> None:
  """Logs which set of weights was taken, and what its names begin with."""
  if len(prefixes) > 1:
    sets = [repr(prefix) if prefix else 'the outermost' for prefix in prefixes]
    log.warning(
      '%s has %d sets of weights that fit; %s is taken, not %s. To take '
      'another, save it by itself.',
      origin,
      len(sets),
      sets[0],
      ', '.join(sets[1:]),
    )
  left_out = {
    entry.key.removesuffix(name)
    if entry.key.endswith(name)
    else '.'.join(sorted(_WRAPPERS & set(entry.key.split('.')))) + '.'
    for name, entry in taken.items()
    if not name.endswith(entry.key)
  }
  if left_out:
    text = 'Names in %s lose their prefix %s'
    log.info(text, origin, few(map(repr, sorted(left_out))))


def _as_arrays(
  tensors: Mapping[str, Any], wanted: Collection[str], origin: str
) -> dict[str, np.ndarray]:
  """Converts a model's tensors to numpy; refuses those without plain floats."""
  arrays, refused, converted = dict(tensors), [], collections.Counter()
  for name in tensors.keys() & wanted:
    try:
      value = tensors[name]
      if isinstance(value, torch_files.Unreadable):
        raise TypeError(value.kind)
      if hasattr(value, 'detach'):  # A tensor of PyTorch.
        value = value.detach().cpu()
        value = value.float() if 'bfloat16' in str(value.dtype) else value
      arrays[name] = value = np.asarray(value)
      if value.dtype not in _FLOATS:
        raise TypeError(value.dtype)
    except (TypeError, RuntimeError) as error:  # PyTorch raises either.
      refused.append(f'{name} ({error})')
      continue
    if (dtype := str(tensors[name].dtype).removeprefix('torch.')) != 'float32':
      converted[dtype] += 1
    if not np.isfinite(value).all():
      log.warning('%s has infinite values or NaN in %s', name, origin)
  if refused:
    raise ValueError(
      f'{origin} has tensors that are not plain float16, bfloat16, float32 or '
      f'float64: {few(sorted(refused), 3)}. Save them as float32, on the CPU.'
    )
  for dtype, count in converted.items():
    log.info('%d tensors are %s in the file, and are converted', count, dtype)
  return arrays


def _outline(content: Any) -> str:
  """Formats the keys of a content, with the classes of their values."""

  def kind(value):
    return type(value).__qualname__

  if isinstance(content, Mapping):
    items = (f'{key!r} ({kind(x)})' for key, x in content.items())
    return few(items, 8) or 'nothing'
  return f'an object of {kind(content)}'
