# SPDX-License-Identifier: Apache-2.0
"""The paper's ablation on any data set: layouts, the 3D model, one frame.

Every trained model is also tested on clips in other frame orders, which
measures what the paper calls "error-correction ability".
"""

from collections.abc import Container, Mapping, Sequence
import json
import logging
import pathlib
from typing import Any

import jax
import ml_collections
import tabulate

from flatten_jax import flattening, paths
from flatten_jax.evaluation import metrics
from flatten_jax.experiments import runs
from flatten_jax.experiments.cross_validation import check_seeds
from flatten_jax.experiments.runs import mean_and_deviation, summarize
from flatten_jax.models import MODELS, uniformer
from flatten_jax.reporting import curves
from flatten_jax.runtime import context, preprocess
from flatten_jax.runtime.configuration import config as configs, recipes
from flatten_jax.runtime.devices import multihost
from flatten_jax.runtime.workdir import run_log
from flatten_jax.text import did_you_mean

log = logging.getLogger('flatten_jax')

# Changes to the config by variant.
VARIANTS = {
  'row_major': {'flatten': 'row_major'},
  'nested': {'flatten': 'nested'},
  'random': {'flatten': 'random'},
  '3d': {},  # The video model of the same sizes, see `video_counterpart`.
  'one_frame': {'flatten': 'row_major', 'data.repeat_frame': True},
  'average': {  # Logits of single frames.
    'clip_model': 'average',
    'flatten': 'row_major',
    'grid': (),
    'mix_stage': 'before_flatten',
  },
}
PAPER = tuple(VARIANTS)[:5]
# Changes to the config of a trained model by test.
TESTS = {
  'as trained': {},
  'flattened row_major': {'flatten': 'row_major'},
  'flattened nested': {'flatten': 'nested'},
  'flattened random': {'flatten': 'random'},
  'reversed': {'eval_frame_order': 'reversed'},
  'shuffled': {'eval_frame_order': 'shuffled'},
}


def ablate(
  config: ml_collections.ConfigDict,
  workdir: str | pathlib.Path,
  *,
  variants: Sequence[str] = PAPER,
  seeds: int = 1,
  folds: bool = False,
) -> dict[str, Any]:
  """Trains every variant with every seed, tests each, and writes tables.

  Resumes where it was interrupted; finished runs are not repeated.

  Args:
    config: of the variant 'row_major'; `VARIANTS` has the changes of others.
    workdir: gets a folder for each variant, ablation.json, ablation.md and
      loss_curves.png.
    variants: some of `VARIANTS`; by default all of the paper's.
    seeds: runs of each variant, with seeds from `config.seed` on.
    folds: trains on every fold of the data with each seed, see
      `cross_validate`.

  Returns:
    The content of ablation.json, by variant, also of those that an earlier call
    has finished: what `summarize` returns, and 'probes': the top-1 of every
    seed by test of `TESTS`.

  Raises:
    ValueError: a variant is unknown, the model has no video counterpart, or
      `workdir` has variants of another config.
  """
  variants = [variants] if isinstance(variants, str) else variants
  if not variants or len(set(variants)) < len(variants):
    raise ValueError(f'Name variants, each once; got {list(variants)}.')
  check_seeds(seeds)
  config = configs.complete(config)
  runs.check_one_label(config, 'ablate')
  multihost.initialize(config)
  early = configs.fill_and_check(recipes.typical(config))
  for name in variants:  # A mistake is found before the workdir is made.
    variant_config(early, name)
  with context.open_run(config, workdir, exclusive=True) as run:
    runs.check_unchanged(run.config, run.workdir)
    found = _earlier(run.workdir, variants, folds)
    videos = runs.open_videos(run.config, folds)
    runs.check_same_videos(videos, run.workdir)
    changed = {name: variant_config(run.config, name) for name in variants}
    for name, own in changed.items():
      log.info('Ablation: %s', name)
      done = runs.train(own, run.workdir / name, seeds, folds)
      run_log.start(run.workdir)
      found[name] = summarize(done) | {
        'probes': runs.probe(done, _tests_of(own))
      }
      found = {name: found[name] for name in VARIANTS if name in found}
      if multihost.is_first():
        _write(run.workdir, found, folds)
    return found


def _earlier(
  workdir: pathlib.Path, variants: Container[str], folds: bool
) -> dict[str, Any]:
  """Returns the rows of ablation.json but for those of `variants`.

  Raises:
    ValueError: one is of runs on folds, unlike `folds`.
  """
  path = workdir / 'ablation.json'
  if not path.exists():
    return {}
  rows = json.loads(path.read_text())
  found = {name: row for name, row in rows.items() if name not in variants}
  others = 'seed_*' if folds else 'fold_*_seed_*'
  for name in found:
    if any((workdir / name).glob(others)):
      raise ValueError(
        f'{workdir / name} was trained {"without" if folds else "with"} '
        '--folds, so that it cannot be compared. Use a new --workdir, or the '
        'flags that it was started with.'
      )
  return found


def variant_config(
  config: ml_collections.ConfigDict, name: str
) -> ml_collections.ConfigDict:
  """Returns the config of a variant."""
  if name not in VARIANTS:
    raise ValueError(
      f'There is no variant {name!r}.{did_you_mean(name, VARIANTS)} Choose '
      f'from {", ".join(VARIANTS)}.'
    )
  if name != 'one_frame' and preprocess.takes_clips(config):
    raise ValueError(
      f'{config.model.name} takes clips, which are not flattened: '
      f'{name} would change nothing. Use --variants=one_frame, or an image '
      "model with clip_model='flatten'."
    )
  config = config.copy_and_resolve_references()
  config.update_from_flattened_dict(VARIANTS[name])
  config.order_report = False  # The variants tell more.
  if name == '3d':
    config.model.name = _video_counterpart(config.model.name)
    crop = config.data.crop  # A multiple of the video model's strides.
    least = -(-crop // uniformer.STRIDE) * uniformer.STRIDE
    if least != crop:
      config.data.crop = least
      config.data.short_side = config.data.short_side * least // crop
      text = '%s takes frames of %d px, not %d'
      log.info(text, config.model.name, least, crop)
  elif not preprocess.takes_clips(config) and not _has_layout(
    config, config.flatten
  ):
    raise ValueError(
      f'{config.data.num_frames} frames cannot be flattened {config.flatten}: '
      'choose another number (16), or leave it out of --variants.'
    )
  return config


def _video_counterpart(name: str) -> str:
  """Returns the video model of the same sizes as an image model."""
  video = name.replace('uniformer_', 'uniformer3d_')
  if video == name or video not in MODELS:
    known = sorted(n for n in MODELS if n.startswith('uniformer3d_'))
    raise ValueError(
      f'{name} has no counterpart for clips, as the UniFormers have '
      f'({", ".join(known)}): leave 3d out of --variants.'
    )
  return video


def _has_layout(config: ml_collections.ConfigDict, mode: str) -> bool:
  """Returns True if the config's frames can be flattened in a layout."""
  grid, rng = tuple(config.grid) or None, jax.random.key(0)
  try:
    flattening.frame_order(mode, config.data.num_frames, grid=grid, rng=rng)
  except ValueError:
    return False
  return True


def _tests_of(
  config: ml_collections.ConfigDict,
) -> dict[str, dict[str, str]]:
  """Returns those of `TESTS` that a variant can take."""
  return {
    name: changes
    for name, changes in TESTS.items()
    if (mode := changes.get('flatten')) is None
    or (not preprocess.takes_clips(config) and _has_layout(config, mode))
  }


def _write(
  workdir: pathlib.Path, found: Mapping[str, dict[str, Any]], folds: bool
) -> None:
  """Writes tables and curves of the variants so far."""
  runs.write_json(workdir / 'ablation.json', found)
  page = markdown(found)
  paths.write_text(workdir / 'ablation.md', page)
  pattern = 'fold_*_seed_*' if folds else '*seed_*'
  curves.draw_curves(
    {name: sorted((workdir / name).glob(pattern)) for name in found},
    workdir / 'loss_curves.png',
  )
  log.info('\n%s\nIt is in %s', page, workdir / 'ablation.md')


def markdown(found: Mapping[str, dict[str, Any]]) -> str:
  """Returns two tables: the variants, and their accuracy in other orders."""
  first = next(iter(found.values()))
  split = {'test': 'Test', 'val': 'Validation'}[first['split']]
  rows = [
    {
      'trained': name,
      'views': row['views'],
      'top-1': mean_and_deviation(row['top1']),
      '95 %': metrics.interval(row) if row['scored'] else '-',
      'mean class': mean_and_deviation(row['mean_class']),
      'GFLOPs per view': f'{row["gflops_per_view"]:.4g}',
      'parameters': f'{row["params_m"]:.3f} M',
      'clips/s': f'{speed:.0f}' if (speed := row['clips_per_second']) else '-',
    }
    for name, row in found.items()
  ]
  tests = [
    {'trained': name}
    | {key: mean_and_deviation(v) for key, v in row['probes'].items()}
    for name, row in found.items()
  ]
  tables = [
    tabulate.tabulate(table, 'keys', 'pipe', disable_numparse=True)
    for table in (rows, tests)
  ]
  counts = sorted({len(row['top1']) for row in found.values()})
  count = ' or '.join(map(str, counts))
  spread = f'mean and standard deviation of {count} seeds'
  spread = spread if counts != [1] else 'one seed'
  if 'chance' in first:
    spread += f'; {metrics.level(first)}'
  return (
    f'{split} top-1 in percent, {spread}.'
    f'\n\n{tables[0]}\n\n'
    f'The same models, tested in other orders:\n\n{tables[1]}\n\n'
  )
