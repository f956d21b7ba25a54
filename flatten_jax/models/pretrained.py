# SPDX-License-Identifier: Apache-2.0
"""Published PyTorch weights into our models, with no tensor left over."""

from collections.abc import Callable, Collection, Mapping
import dataclasses
import os
import pathlib
import re
import urllib.request

from absl import logging
from flax import nnx, traverse_util
import jax.numpy as jnp
import numpy as np

from flatten_jax.models import resnet, swin_v2, torch_file, uniformer

# PyTorch's name -> ours; applied top to bottom.
Names = list[tuple[str, str | Callable[[re.Match], str]]]
RESNET_NAMES: Names = [  # torchvision's, and timm's.
  (r'^layer(\d)', lambda m: f'stages.{int(m[1]) - 1}'),
  (r'^(conv|bn)1', r'\1'),
  (r'\bbn', 'norm'),
  (r'downsample\.0', 'shortcut'),
  (r'downsample\.1', 'shortcut_norm'),
  (r'^fc', 'head'),
  (r'running_', ''),
  (r'(norm\d?)\.weight', r'\1.scale'),
  (r'\.weight', '.kernel'),
]
SWIN_V2_NAMES: Names = [  # timm's.
  (r'^patch_embed', 'embeds.0'),
  (r'^layers\.(\d)\.downsample', r'embeds.\1'),
  (r'^layers\.(\d)\.blocks', r'stages.\1'),
  (r'\.cpb_mlp\.0', '.position_in'),
  (r'\.cpb_mlp\.2', '.position_out'),
  (r'\.mlp', ''),
  (r'^head\.fc', 'head'),
  (r'(norm\d?)\.weight', r'\1.scale'),
  (r'\.weight', '.kernel'),
]
# Microsoft counts what opens a stage to the stage before.
SWIN_V2_MICROSOFT_NAMES: Names = [
  (r'^layers\.(\d)\.downsample', lambda m: f'embeds.{int(m[1]) + 1}'),
  *SWIN_V2_NAMES,
]
UNIFORMER_NAMES: Names = [
  (r'^patch_embed(\d)', lambda m: f'embeds.{int(m[1]) - 1}'),
  (r'^blocks(\d)', lambda m: f'stages.{int(m[1]) - 1}'),
  (r'\.pos_embed', '.pos'),
  (r'\.attn\.(qkv|proj)', r'.\1'),
  (r'\.mlp', ''),
  (r'\.conv1', '.conv_in'),
  (r'\.attn', '.mix'),
  (r'\.conv2', '.conv_out'),
  (r'running_', ''),
  (r'(norm\d?)\.weight', r'\1.scale'),
  (r'\.weight', '.kernel'),
]
# Only in the published light XXS: a convolutional stem, and the class token of
# its token pruning. (A class token is how it is recognised.)
UNIFORMER_LIGHT_ONLY = (
  r'^(patch_embed1\.proj\.\d|cls_token|cls_upsample|norm_cls|head_cls)'
)
# Not learned, and computed here where it is needed.
COMPUTED = (
  r'(num_batches_tracked|relative_coords_table|relative_position_index'
  r'|attn_mask)$'
)

# Model, training set -> Google Drive's id of the file its authors published.
CHECKPOINTS = {
  ('uniformer_s', 'imagenet1k'): '1-uepH3Q3BhTmWU6HK-sGAGQC_MpfIiPD',
  # The light variant at 160 px, 79.1 top-1: all of ours but the stem.
  ('uniformer_xxs', 'imagenet1k'): '1CsXCzfVFPyM2mY8BA_1fO3q_VBngnF44',
}


@dataclasses.dataclass(frozen=True)
class LoadReport:
  """What became of every tensor; names are ours, but `unused` is the file's."""

  loaded: tuple[str, ...]
  left_at_init: tuple[str, ...] = ()
  unused: tuple[str, ...] = ()

  def __str__(self) -> str:
    text = f'{len(self.loaded)} tensors loaded.'
    if self.left_at_init:
      text += f' Left at their initial values: {", ".join(self.left_at_init)}.'
    if self.unused:
      text += f' In the file but not in the model: {", ".join(self.unused)}.'
    return text


def load_torch(
  model: nnx.Module,
  source: Mapping[str, np.ndarray] | str | pathlib.Path,
  *,
  new_head: bool = False,
) -> LoadReport:
  """Fills a model with PyTorch weights; complains about any leftover.

  Args:
    model: changed in place, or not at all where an error is raised.
    source: a state dict (anything that numpy can read), or the path of a
      .safetensors or .pth file, of which nothing is executed.
    new_head: leave the head at its initial values where the file's is for
      another number of classes, rather than refuse.

  Returns:
    What was loaded, what was left, what was not used.

  Raises:
    ValueError: naming every tensor that is only in the file, only in the model
      or of another shape. The one exception is the published light UniFormer-
      XXS: our XXS has another stem, which stays at its initial values.
  """
  if isinstance(source, str | os.PathLike):
    source = torch_file.read_tensors(source)
  table = names_for(model, source)
  state = nnx.state(model, (nnx.Param, nnx.BatchStat))
  flat = traverse_util.flatten_dict(nnx.to_pure_dict(state))
  paths = {'.'.join(map(str, path)): path for path in flat}
  ours = {name: flat[path] for name, path in paths.items()}
  theirs, unused = _translate(
    source, table, {k: x.shape for k, x in ours.items()}
  )

  free = set()
  if unused:  # Another stem: ours has nothing to take from the file.
    free |= {name for name in ours if name.startswith('embeds.0.')}
  head = ours['head.bias'].shape
  if new_head and theirs.get('head.bias', np.empty(head)).shape != head:
    free |= {'head.kernel', 'head.bias'}
    theirs = {k: v for k, v in theirs.items() if not k.startswith('head.')}
  _check({k: x.shape for k, x in ours.items() if k not in free}, theirs)

  tensors = {paths[k]: jnp.asarray(v, ours[k].dtype) for k, v in theirs.items()}
  nnx.update(model, traverse_util.unflatten_dict(tensors))
  return LoadReport(tuple(sorted(theirs)), tuple(sorted(free)), tuple(unused))


def names_for(model: nnx.Module, source: Collection[str]) -> Names:
  """The table that turns a file's names, `source`, into those of a model."""
  if isinstance(model, uniformer.UniFormer):
    return UNIFORMER_NAMES
  if isinstance(model, resnet.ResNet):
    return RESNET_NAMES
  if isinstance(model, swin_v2.SwinV2):
    microsoft = any(name.startswith('layers.0.downsample') for name in source)
    return SWIN_V2_MICROSOFT_NAMES if microsoft else SWIN_V2_NAMES
  raise ValueError(f'No table of PyTorch names for a {type(model).__name__}.')


def _translate(
  source: Mapping[str, np.ndarray],
  table: Names,
  shapes: dict[str, tuple[int, ...]],
) -> tuple[dict[str, np.ndarray], list[str]]:
  """The file's tensors in our names and axes; and the light variant's own."""
  theirs, unused = {}, []
  light = table is UNIFORMER_NAMES and 'cls_token' in source
  for name, value in source.items():
    if re.search(COMPUTED, name):
      continue
    if light and re.search(UNIFORMER_LIGHT_ONLY, name):
      unused.append(name)
      continue
    name = rename(name, table)
    theirs[name] = _arrange(np.asarray(value), shapes.get(name, ()))
  return theirs, unused


def rename(name: str, table: Names) -> str:
  """A PyTorch name in our spelling: every rule of the table, in order."""
  for pattern, replacement in table:
    name = re.sub(pattern, replacement, name)
  return name


def _arrange(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """PyTorch's axis order to ours: [O I] -> [I O], [O I H W] -> [H W I O]."""
  if value.ndim == 2:
    return value.T
  if value.ndim == 4:
    value = value.transpose(2, 3, 1, 0)
    if len(shape) == 2 and value.shape[:2] == (1, 1):
      value = value[0, 0]  # A 1x1 convolution is a matrix here.
  return value


def _check(ours: dict[str, tuple], theirs: dict[str, np.ndarray]) -> None:
  """Raises unless both sides have the same tensors in the same shapes."""
  problems = []
  if only := sorted(ours.keys() - theirs.keys()):
    problems.append(f'Only in the model: {", ".join(only)}.')
  if only := sorted(theirs.keys() - ours.keys()):
    problems.append(f'Only in the file: {", ".join(only)}.')
  for name in sorted(ours.keys() & theirs.keys()):
    if ours[name] != theirs[name].shape:
      problems.append(
        f'{name}: {theirs[name].shape} in the file, {ours[name]} here.'
      )
      if name.startswith('head.'):
        problems[-1] += (
          ' (new_head=True leaves the head at its initial values.)'
        )
  if problems:
    raise ValueError('These weights do not fit. ' + ' '.join(problems))


def load_pretrained(model: nnx.Module, name: str, weights: str) -> LoadReport:
  """Loads published weights, or a file's; the head may be for other classes.

  Args:
    model: changed in place.
    name: the model's name, to find its published weights.
    weights: 'imagenet1k', or a path.

  Returns:
    As `load_torch`, which is also logged.
  """
  path = weights
  if not pathlib.Path(weights).expanduser().is_file():
    if (name, weights) not in CHECKPOINTS:
      known = [w for n, w in CHECKPOINTS if n == name]
      raise ValueError(
        f'{weights!r} is neither a file nor one of the published weights for '
        f'{name}: {known or "there are none"}.'
      )
    path = download(CHECKPOINTS[name, weights], f'{name}_{weights}.pth')
  report = load_torch(model, path, new_head=True)
  log = logging.warning if report.left_at_init else logging.info
  log('%s from %s: %s', name, path, report)
  return report


def download(drive_id: str, filename: str) -> pathlib.Path:
  """Fetches a file of Google Drive once; returns where it lies.

  The folder is $XDG_CACHE_HOME/flatten_jax, ~/.cache/flatten_jax by default.
  """
  cache = pathlib.Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache')
  path = cache.expanduser() / 'flatten_jax' / filename
  if path.exists():
    return path
  url = f'https://drive.google.com/uc?export=download&id={drive_id}'
  direct = (  # With the answer to "too large to scan for viruses, go on?".
    'https://drive.usercontent.google.com/download?export=download&confirm=t'
    f'&id={drive_id}'
  )
  advice = f'Download {url} by hand and pass the path of the file instead.'
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_suffix(f'.{os.getpid()}.part')
  try:
    logging.info('Downloading %s to %s', direct, path)
    urllib.request.urlretrieve(direct, part)
    with open(part, 'rb') as file:
      if not file.read(2) == b'PK':  # An archive, not a page asking questions.
        raise ValueError(f'Google Drive sent no checkpoint. {advice}')
    part.rename(path)
  except OSError as error:
    raise OSError(f'Could not download {direct}: {error}. {advice}') from error
  finally:
    part.unlink(missing_ok=True)
  return path
