# SPDX-License-Identifier: Apache-2.0
"""Finds the tensors of a model in what a checkpoint contains.

Training frameworks wrap models and nest their checkpoints: `conv1.weight`
becomes `model._orig_mod.conv1.weight` in `state_dict`. The names that a model
wants tell which part is a prefix, without a list of frameworks.
"""

import collections
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
import logging
import re
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from flatten_jax.models.weights.formats.errors import Unreadable
from flatten_jax.models.weights.naming import is_computed

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
  r'(?i)(^|[._])(ema|avg|average[ds]?|swa|shadow|teacher)[._]'
)
# Moments of optimizers, which have the names of weights. Flax's optimizers have
# the weights themselves as their target.
_MOMENTS = re.compile(r'optim(?!izer\.target\.)|opt_state|exp_avg|momentum')
# Heads of models and of the frameworks around them.
_HEAD = re.compile(r'(?:^|\.)(?:head|fc|fc_cls|classifier)\.(weight|bias)$')
_FLOATS = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)


class _Entry(NamedTuple):
  """A tensor, its key, and the keys of the mappings around it."""

  container: tuple[str, ...]
  key: str
  value: Any
  name: str  # All keys, without wrappers.


def find(
  content: Any, namings: Sequence[Set[str]], origin: str
) -> tuple[int, dict[str, np.ndarray], list[str]]:
  """Returns the naming that fits best, the tensors by its names, and unused.

  `content` may nest mappings and lists; `namings` are the names of the model's
  tensors by each publisher; `origin` is for messages. The log tells the choice.
  Unused are names of tensors beside those of the model, but not of optimizers
  and of other sets of weights.

  Raises:
    ValueError: there are no tensors, or those of the model are not numbers.
  """
  entries = _entries(content)
  if not entries:
    raise ValueError(
      f'{origin} does not hold named tensors; it has {_outline(content)}. '
      "Save a model's `state_dict()`."
    )
  best, prefixes = _prefixes([entry.name for entry in entries], namings)
  wanted, prefix = namings[best], prefixes[0]
  containers = {
    e.container
    for e in entries
    if e.name.startswith(prefix) and e.name[len(prefix) :] in wanted
  } or {entries[0].container}
  taken, others, outside = {}, {}, []
  for entry in entries:
    if entry.container not in containers:
      outside.append(entry)
    elif entry.name.startswith(prefix):
      taken[entry.name.removeprefix(prefix)] = entry
    elif not entry.name.startswith(tuple(prefixes)):
      others[entry.name] = entry
  others |= {e.name: e for e in _left_over(outside, taken.keys(), prefixes)}
  if len(prefixes) > 1:
    sets = [repr(p[:-1]) if p else 'the outermost' for p in prefixes]
    log.warning(
      f'{origin} has {len(sets)} sets of weights that fit; {sets[0]} is taken, '
      f'not {", ".join(sets[1:])}. To take another, save it by itself.'
    )
  for name, entry in taken.items():
    if not name.endswith(entry.key):
      log.info('Names in %s are shortened: %s is %s', origin, entry.key, name)
      break
  _take_head(taken, others, wanted)
  unused = [name for name in others if not is_computed(name)]
  if unused:
    log.warning('Not of the model, and not used: %s', few(unused))
  values = {name: entry.value for name, entry in taken.items()}
  return best, _as_arrays(values, wanted, origin), unused


def names(content: Any) -> list[str]:
  """Returns the dotted names of all tensors, with the keys around them."""
  return ['.'.join((*x.container, x.key)) for x in _entries(content)]


def temporal_depth(names: Iterable[str]) -> int:
  """Counts the blocks of a video transformer's temporal encoder; 0 for none."""
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


def _entries(content: Any) -> list[_Entry]:
  """Returns every tensor; a wrapper stays in names that it tells apart."""
  found = list(_tensors(content, ()))
  # Flax joins names by slashes.
  found = [(tuple(k.replace('/', '.') for k in ks), x) for ks, x in found]
  names = ['.'.join(keys) for keys, _ in found]
  clean = [
    '.'.join(part for part in name.split('.') if part not in _WRAPPERS)
    for name in names
  ]
  count = collections.Counter(clean)
  return [
    _Entry(keys[:-1], keys[-1], value, short if count[short] == 1 else name)
    for (keys, value), name, short in zip(found, names, clean, strict=True)
  ]


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
    if is_array or isinstance(value, Unreadable):
      yield path, value
    elif len(path) < 4:
      yield from _tensors(value, path)


def _prefixes(
  names: Sequence[str], namings: Sequence[Set[str]]
) -> tuple[int, list[str]]:
  """Returns the naming that fits best, and prefixes of sets that have it.

  The first set has most of the names; of equal ones it is an average, as in
  timm's loader. Others have at least half as many.
  """
  counts = [
    collections.Counter(
      name[:start]
      for name in names
      for start in (0, *_dots(name))
      if name[start:] in wanted and not _MOMENTS.search(name[:start])
    )
    for wanted in namings
  ]
  most = [max(count.values(), default=0) for count in counts]
  best = most.index(max(most))
  wanted, count = namings[best], counts[best]
  if 4 * most[best] < len(wanted):  # Another model, with some names in common.
    return best, ['']
  prefixes = [p for p in count if 2 * count[p] >= most[best]]
  prefixes.sort(key=lambda p: (-count[p], not _AVERAGES.search(p)))
  return best, prefixes


def _left_over(
  entries: Iterable[_Entry], taken: Set[str], prefixes: Sequence[str]
) -> Iterator[_Entry]:
  """Yields learned tensors that no optimizer and no set of weights has.

  Args:
    entries: of containers without a tensor of the model.
    taken: names of the model's tensors in the file, without its prefix.
    prefixes: that of the model, and those of the other sets of weights.
  """
  ours, *others = prefixes
  # 'student.' of 'student.backbone.', if the model is 'teacher.backbone.'.
  roots = tuple(
    next(p[:dot] for dot in _dots(p) if not ours.startswith(p[:dot]))
    for p in others
    if not ours.startswith(p)
  )
  for entry in entries:
    name, value = entry.name, entry.value
    if (
      not name.startswith(roots)
      and not any(name[dot:] in taken for dot in (0, *_dots(name)))
      and not _MOMENTS.search(name)
      and not _AVERAGES.search(name)
      and 'float' in str(getattr(value, 'dtype', ''))
      and len(value.shape) > 0
    ):
      yield entry


def _dots(name: str) -> list[int]:
  """Returns the places after the dots of a name."""
  return [dot.end() for dot in re.finditer(r'\.', name)]


def _take_head(
  taken: dict[str, _Entry], others: dict[str, _Entry], wanted: Set[str]
) -> None:
  """Takes the head that a framework keeps apart from its backbone."""
  for name in wanted - taken.keys():
    if head := _HEAD.search(name):
      heads = [x for x in others if _HEAD.search(x) and x.endswith(head[1])]
      if len(heads) == 1:
        log.info('%s of the file is %s', heads[0], name)
        taken[name] = others.pop(heads[0])


def _as_arrays(
  tensors: Mapping[str, Any], wanted: Set[str], origin: str
) -> dict[str, np.ndarray]:
  """Converts a model's tensors to numpy; refuses those without plain floats."""
  arrays, refused, infinite = dict(tensors), [], []
  converted = collections.Counter()
  for name in tensors.keys() & wanted:
    try:
      value = tensors[name]
      if isinstance(value, Unreadable):
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
      infinite.append(name)
  if refused:
    raise ValueError(
      f'{origin} has tensors that are not plain float16, bfloat16, float32 or '
      f'float64: {few(sorted(refused), 3)}. Save them as float32, on the CPU.'
    )
  if names := few(sorted(infinite)):
    log.warning('%s has infinite values or NaN in %s', origin, names)
  for dtype, count in converted.items():
    log.info('%d tensors are %s in the file, and are converted', count, dtype)
  return arrays


def _outline(content: Any) -> str:
  """Formats the keys of a content, with the classes of their values."""
  if isinstance(content, Mapping):
    items = (f'{key!r} ({type(x).__name__})' for key, x in content.items())
    return few(items, 8) or 'nothing'
  return f'an object of {type(content).__name__}'
