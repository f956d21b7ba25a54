# SPDX-License-Identifier: Apache-2.0
"""Loads published weights into models, and exports them; nothing is skipped."""

from collections.abc import Collection, Mapping
import dataclasses
import os
import pathlib

from flax import nnx, traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from flatten_jax import paths
from flatten_jax.models.weights import (
  allowances,
  file_formats,
  key_names,
  matching,
  state_dicts,
)


@dataclasses.dataclass(frozen=True)
class LoadReport:
  """Result of loading: our names of tensors; `dropped` are the file's."""

  loaded: tuple[str, ...]
  resized: tuple[str, ...] = ()
  left_at_init: tuple[str, ...] = ()
  dropped: tuple[str, ...] = ()

  def __str__(self) -> str:
    text = f'{len(self.loaded)} tensors loaded.'
    for title, names in (
      ('Resized', self.resized),
      ('Left at their initial values', self.left_at_init),
      ('In the file, but not in the model', self.dropped),
    ):
      if names:
        text += f' {title}: {", ".join(names)}.'
    return text


def load_torch(
  model: nnx.Module,
  source: Mapping[str, np.ndarray] | str | pathlib.Path,
  *,
  allow: Collection[str] = (),
) -> LoadReport:
  """Fills a model with published weights; refuses any leftover.

  `docs/models.md` lists the publishers of each model. Their names may be
  wrapped (`module.`), nested (`state_dict`) and next to those of optimizers.

  Args:
    model: changed in place, unless an error is raised.
    source: a state dict by such names; or a path, see
      `file_formats.read_tensors`. Nothing in a file is executed.
    allow: differences to accept, and to report:
      'new_head': a head for another number of classes keeps its values, as does
        that of a ViT if the file has none.
      'light': the published UniFormer-XXS has another stem, whose values here
        stay, and a class token, which the plain one lacks.
      'window': SwinV2's parameters fit any window, but were trained with the
        file's. `create_model(..., pretrained_window=8)` keeps its coordinates.
      'positions': the position tables of a ViT or a ViViT for images or clips
        of another size are interpolated, as timm and Scenic do.
      'channels': the first kernel of a model of RGB becomes that of one of
        optical flow: its mean over RGB, for every channel.
      'inflate': an image model in a video model, by the rules of its authors:
        `inflation.py`.

  Returns:
    The tensors that were loaded, resized, left at their values, and dropped.

  Raises:
    ValueError: tensors are only on one side or of another shape. The error has
      the first of each, and the allowance that accepts them.
  """
  if unknown := set(allow) - matching.ALLOWANCES.keys():
    raise ValueError(
      f'allow does not know {sorted(unknown)}, only '
      + '; '.join(f'{k!r}: {text}' for k, text in matching.ALLOWANCES.items())
    )
  origin = 'The state dict'
  if isinstance(source, str | os.PathLike):
    origin, source = str(source), file_formats.read_tensors(source)
  tensors = _tensors(model)
  names = ['.'.join(map(str, path)) for path in tensors]
  namings = list(key_names.namings_of(model).values())
  theirs = [{part for x in names for part in n.parts(x)} for n in namings]
  best, source, unused = state_dicts.find(source, theirs, origin)
  match = matching.match(model, tensors, source, namings[best], allow)
  allowances.accept(match)
  match.check()
  match.dropped |= set(unused)
  filled = {  # Copies: `asarray` may share the caller's memory.
    match.paths[name]: jnp.array(value, tensors[match.paths[name]].dtype)
    for name, value in match.theirs.items()
  }
  nnx.update(model, traverse_util.unflatten_dict(filled))
  return LoadReport(
    *(
      tuple(sorted(names))
      for names in (match.theirs, match.resized, match.left, match.dropped)
    )
  )


def export_torch(
  model: nnx.Module,
  path: str | pathlib.Path | None = None,
  *,
  naming: str | None = None,
  metadata: Mapping[str, str] | None = None,
) -> dict[str, np.ndarray]:
  """Exports a model's weights under their official PyTorch names.

  Args:
    model: one of `list_models()`.
    path: a .safetensors file to write, or None.
    naming: the publisher, as in `key_names.NAMINGS`: 'timm' (the default) or
      'microsoft' for SwinV2.
    metadata: texts for the header of the file.

  Returns:
    The state dict: name -> array, a copy in PyTorch's axis order.

  Raises:
    ValueError: the path has another suffix, or the naming is unknown.
  """
  if path is not None and not str(path).endswith('.safetensors'):
    raise ValueError(f'Weights are written as .safetensors, not as {path}.')
  namings = key_names.namings_of(model)
  namings = {k: names for k, names in namings.items() if not names.image}
  naming = naming or next(iter(namings))
  if naming not in namings:
    raise ValueError(
      f'Names of {naming!r} are not known, only {list(namings)}.'
    )
  names = namings[naming]
  state = {}
  for our_path, value in _tensors(model).items():
    name = '.'.join(map(str, our_path))
    for key, part in names.to_theirs(name, np.asarray(value), model).items():
      state[key] = np.array(part, order='C')
  for name in [name for name in state if name.endswith('running_var')]:
    count = name.removesuffix('running_var') + 'num_batches_tracked'
    state[count] = np.zeros((), np.int64)
  if path is not None:
    from safetensors.numpy import save  # Imported only if needed.

    # Not `save_file`, whose files only their owner can read.
    paths.expand(path).write_bytes(save(state, metadata))
  return state


def _tensors(model: nnx.Module) -> dict[tuple, jax.Array]:
  """Returns path -> parameter or running statistic."""
  state = nnx.state(model, (nnx.Param, nnx.BatchStat))
  return traverse_util.flatten_dict(nnx.to_pure_dict(state))
