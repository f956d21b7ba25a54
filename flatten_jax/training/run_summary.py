# SPDX-License-Identifier: Apache-2.0
"""The first lines of a run's log, and run.json."""

import collections
import json
import logging
import pathlib
from typing import Any

from absl import flags
import jax
from ml_collections import config_flags

from flatten_jax import paths
from flatten_jax.inputs import views
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.runtime import model_factory, preprocess
from flatten_jax.runtime.devices import batch_norm, sharding
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.state import TrainState
from flatten_jax.runtime.workdir import run_log
from flatten_jax.training import freezing, optimizer

log = logging.getLogger('flatten_jax')

_FINISHED = 'finished'  # A key of run.json.


def log_run_summary(
  experiment: Experiment,
  splits: dict[str, Videos],
  state: TrainState,
  total_steps: int,
  workdir: str | pathlib.Path,
) -> None:
  """Logs the model, its cost, the devices and the data; writes run.json.

  Its 'machine', with the commit, is that of the training: a run that is opened
  again when nothing is left to train keeps it.
  """
  config = experiment.config
  machine = run_log.describe_machine()
  if int(state.step) >= total_steps:
    machine = read(pathlib.Path(workdir)).get('machine', machine)
  description = {'config': config.to_dict(), 'total_steps': total_steps}
  description[_FINISHED] = False
  description |= {'class_names': experiment.class_names, 'machine': machine}
  normalised = batch_norm.describe(config, state.batch_stats)
  description |= {'mesh': dict(experiment.mesh.shape), 'batch_norm': normalised}
  description['class_videos'] = class_videos(splits)
  description |= of_command(pathlib.Path(workdir))
  _write(pathlib.Path(workdir), description)
  log.debug('Config:\n%s', config)
  if 'val' not in splits:
    log.info('No val split: there is no validation during training')
  log.info(
    '%s on %d %s of %d px %s: %d x %d px, %.3f GFLOPs a view',
    config.model.name,
    config.data.num_frames,
    'frame' if config.data.num_frames == 1 else 'frames',
    config.data.crop,
    preprocess.describe(config),
    *model_factory.image_shape(config),
    experiment.cost_of(config.data.num_frames, config.data.crop).gflops,
  )
  test = views.of_config(config.data)
  sizes = test.frames, test.resolution
  if sizes != (config.data.num_frames, config.data.crop):
    # Before training, since a model may not take clips of this size.
    gflops = experiment.cost.gflops
    log.info('Test views: %d frames of %d px, %.3f GFLOPs', *sizes, gflops)
  decay = optimizer.decay_factors(state.params, config)
  run_log.log_parameters(state.params, decay)
  log.info(
    '%d steps of %d clips on %d x %s; everything else is in %s',
    total_steps,
    config.batch_size * config.data.repeated_aug,
    experiment.mesh.size,
    experiment.mesh.devices.flat[0].device_kind,
    pathlib.Path(workdir) / 'run.json',
  )
  log.info(
    '%s', sharding.describe(config, experiment.mesh, state.params, state)
  )
  log.info('Batch norm: %s', normalised)
  _log_what_is_trained(experiment, splits['train'])
  if int(state.step):
    log.info('Resuming after step %d', int(state.step))


def of_command(workdir: pathlib.Path) -> dict[str, str | list[str]]:
  """Returns 'config_file', and 'overrides': the keys that flags have given.

  Those of the earlier command if this one resumes a run by its workdir; what
  this one changes is among the overrides.
  """
  name = config_file()
  given = (
    config_flags.get_override_values(flags.FLAGS['config']) if name else {}
  )
  if name and not name.partition(':')[0].endswith(
    'configuration/run_config.py'
  ):
    return {'config_file': name, 'overrides': sorted(given)}
  before = read(workdir)
  known = {'config_file', 'overrides'} & before.keys()
  found = {'config_file': ''} | {key: before[key] for key in sorted(known)}
  if 'overrides' in found:
    found['overrides'] = sorted({*found['overrides'], *given})
  return found


def mark_finished(workdir: pathlib.Path) -> None:
  """Notes in run.json that a run was trained to its end and tested."""
  _write(workdir, read(workdir) | {_FINISHED: True})


def is_finished(workdir: pathlib.Path) -> bool:
  """Returns whether a run was trained to its end and tested.

  Results alone do not say so: a run may be evaluated before its end.
  """
  # Runs of earlier versions have no note.
  results = (workdir / 'results.json').exists()
  return results and read(workdir).get(_FINISHED, True)


def read(workdir: pathlib.Path) -> dict[str, Any]:
  """Returns run.json; {} if there is none, or if it is damaged."""
  try:
    found = json.loads((workdir / 'run.json').read_text())
  except (OSError, ValueError):
    return {}
  return found if isinstance(found, dict) else {}


def _write(workdir: pathlib.Path, description: dict[str, Any]) -> None:
  if jax.process_index() == 0:
    text = json.dumps(description, indent=2) + '\n'
    paths.write_text(workdir / 'run.json', text)


def config_file() -> str:
  """Returns the config of the command line, 'configs/folder.py:frames=16'.

  The folders before configs/ are left out. '' if other code called the library.
  """
  if 'config' not in flags.FLAGS:
    return ''
  flag = flags.FLAGS['config']
  if not (flag.present and hasattr(flag, 'config_filename')):
    return ''
  name, colon, arguments = flag.config_filename.partition(':')
  path = pathlib.PurePath(name)
  if path.parent.name == 'configs':
    name = f'configs/{path.name}'
  return name + colon + arguments


def class_videos(splits: dict[str, Videos]) -> dict[str, list[int]]:
  """Returns the number of videos of every class by split, in class order.

  Images that are trained on do not count, nor do videos without a label.
  """
  found = {}
  for split, videos in splits.items():
    counts = collections.Counter(c for r in videos.records for c in r.classes)
    found[split] = [counts[label] for label in range(videos.num_classes)]
  return found


def _log_what_is_trained(experiment: Experiment, train: Videos) -> None:
  """Logs what is drawn equally often, and what is frozen at first."""
  config = experiment.config
  if config.data.balanced:
    labels = [record.label for record in train.records]
    counts = collections.Counter(labels).values()
    log.info(
      'Classes have %d to %d training videos: each class is drawn equally '
      'often',
      *(min(counts), max(counts)),
    )
  if weights := train.weights:
    text = 'Videos are drawn by their weights, %g to %g'
    log.info(text, min(weights), max(weights))
  if text := freezing.describe(experiment):
    log.info('%s', text)
    if not config.model.pretrained:
      key = 'freeze' if config.freeze else 'freeze_epochs'
      log.warning(
        'config.%s=%r without config.model.pretrained: the rest is trained on '
        'features of random weights',
        *(key, config[key]),
      )
