# SPDX-License-Identifier: Apache-2.0
"""Compiles one program of a run, in a process of its own.

    python -m flatten_jax.compiling.program FOLDER

The folder has spec.json: 'config', 'machine', 'program' ('train' or
'evaluate') and 'classes'. It gets program.json, what is known before the
program is compiled; xla/, what the compiler writes; and at the end done.json.

The process may be stopped as soon as the compiler has planned the memory:
machine code takes a TPU's compiler ten times as long.
"""

import json
import pathlib
import sys
from typing import Any

import jax
import ml_collections
import numpy as np

from flatten_jax import paths
from flatten_jax.compiling.machines import Machine
from flatten_jax.inputs.augment.transforms import test_crop
from flatten_jax.inputs.flow import fields
from flatten_jax.models.layers import devices
from flatten_jax.runtime import preprocess
from flatten_jax.runtime.configuration import config as configs, recipes
from flatten_jax.runtime.devices import sharding
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.training import freezing, optimizer, setup

OUT_OF_MEMORY = ('RESOURCE_EXHAUSTED', 'out of memory')


def compile_program(folder: pathlib.Path) -> None:
  """Compiles the program that `folder`/spec.json describes."""
  spec = json.loads((folder / 'spec.json').read_text())
  chips = Machine.parse(spec['machine']).devices()
  with devices.use(chips):
    config = resolved(configs.complete(spec['config']))
    classes = tuple(map(str, range(spec['classes'])))
    experiment = Experiment.create(config, classes)
    lower = {'train': lower_training, 'evaluate': lower_evaluation}
    program, facts = lower[spec['program']](experiment)
  _write(folder / 'program.json', facts)
  options = {'xla_dump_to': str(folder / 'xla'), 'xla_dump_hlo_as_text': True}
  try:
    program.compile(compiler_options=options)
  except jax.errors.JaxRuntimeError as error:
    text = str(error)
    if not any(words.lower() in text.lower() for words in OUT_OF_MEMORY):
      raise
    _write(folder / 'done.json', {'out_of_memory': text.splitlines()[0]})
  else:
    _write(folder / 'done.json', {'out_of_memory': ''})


def resolved(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Fills in a config for the current devices, without videos and weights."""
  config = configs.fill_and_check(recipes.typical(config))
  return configs.resolve_devices(configs.from_random_weights(config))


def lower_training(experiment: Experiment) -> tuple[Any, dict[str, Any]]:
  """Returns the training step, to be compiled, and its sizes."""
  config, tx = experiment.config, optimizer.make(experiment.config)
  state = setup.abstract_state(experiment, tx)
  clips = config.batch_size * config.data.repeated_aug
  batch = abstract_batch(
    experiment, clips, config.data.num_frames, config.data.crop
  )
  label = (clips,), np.int32
  if config.data.multi_label:
    label = (clips, len(experiment.class_names)), np.int8
  batch |= {'label': _array(experiment, *label)}
  rate = jax.ShapeDtypeStruct((), np.float32, sharding=experiment.replicated)
  frozen = freezing.names_for_all_epochs(experiment)
  step = setup.make_train_step(experiment, tx, frozen=frozen)
  cost = experiment.cost_of(config.data.num_frames, config.data.crop)
  facts = _facts(experiment, batch, state) | {
    'gradients_bytes': 4 * cost.params,
    'our_gmacs_per_chip': 3 * cost.gflops * clips / experiment.mesh.size,
  }
  return step.lower(state, batch, rate), facts


def lower_evaluation(experiment: Experiment) -> tuple[Any, dict[str, Any]]:
  """Returns the evaluation step, to be compiled, and its sizes."""
  config = experiment.config
  weights = jax.eval_shape(experiment.random_weights)
  params, statistics = jax.tree.map(
    lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
    weights,
    experiment.shardings(weights),
  )
  views = config.eval_views * experiment.mesh.shape['data']
  frames = config.data.test_frames or config.data.num_frames
  batch = abstract_batch(experiment, views, frames, test_crop(config.data))
  batch |= {
    name: _array(experiment, (views,), dtype)
    for name, dtype in (
      ('index', np.int32),
      ('view', np.int32),
      ('mask', np.bool_),
    )
  }
  gflops = experiment.cost.gflops
  facts = _facts(experiment, batch, (params, statistics)) | {
    'our_gmacs_per_chip': gflops * views / experiment.mesh.size
  }
  return experiment.eval_step.lower(params, statistics, batch), facts


def abstract_batch(
  experiment: Experiment, clips: int, frames: int, side: int
) -> dict[str, jax.ShapeDtypeStruct]:
  """Returns the shapes of clips, and of their frames' positions."""
  channels = fields.num_channels(experiment.config.data)
  shape = (clips, frames, side, side, channels)
  return {
    'clip': _array(experiment, shape, np.uint8),
    'positions': _array(experiment, shape[:2], np.int32),
  }


def _array(
  experiment: Experiment, shape: tuple[int, ...], dtype: Any
) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(shape, dtype, sharding=experiment.over_data)


def _facts(
  experiment: Experiment, batch: dict[str, jax.ShapeDtypeStruct], state: Any
) -> dict[str, Any]:
  """Returns what is known before a program is compiled."""
  config, mesh = experiment.config, experiment.mesh
  clips, frames, side, *_ = batch['clip'].shape
  return {
    'model': config.model.name,
    'dtype': config.model.dtype,
    'remat': bool(config.model.get('remat', False)),
    'layout': preprocess.describe(config),
    'frames': frames,
    'crop': side,
    'device_kind': mesh.devices.flat[0].device_kind,
    'devices': mesh.size,
    'hosts': len({device.process_index for device in mesh.devices.flat}),
    'mesh': dict(mesh.shape),
    'sharding': config.sharding,
    'clips': clips,
    'clips_per_chip': clips / mesh.shape['data'],
    'state_bytes': sharding.bytes_per_device(state),
  }


def _write(path: pathlib.Path, facts: dict[str, Any]) -> None:
  """Writes a file in one piece: it is waited for."""
  paths.write_text(path, json.dumps(facts, indent=2) + '\n')


if __name__ == '__main__':
  compile_program(pathlib.Path(sys.argv[1]))
