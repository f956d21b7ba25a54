# SPDX-License-Identifier: Apache-2.0
"""Programs of a run, compiled for machines that are not here."""

import importlib.util

import pytest

from configs import folder, quickstart
import flatten_jax as fj
from flatten_jax.compiling import compile_for
from flatten_jax.compiling.machines import EXTRAS, Machine
from flatten_jax.runtime.configuration import config as configs, recipes
from flatten_jax.runtime.workdir import run_log


def small_config():
  config = configs.complete(quickstart.get_config())
  config.model.name = 'uniformer_test'
  config.data.num_frames, config.data.crop = 4, 32
  config.batch_size = 8
  config.mixup = config.cutmix = 1.0
  return config


def spec_of(config, machine, program='train'):
  return {
    'config': config.to_dict(),
    'machine': machine,
    'classes': 5,
    'program': program,
  }


def compiled(config, machine):
  return compile_for.compile_one(
    spec_of(config, machine), Machine.parse(machine)
  )


def messages(found, kind, dtype):
  return sum(
    row['bytes']
    for row in found['collectives']
    if (row['kind'], row['dtype']) == (kind, dtype)
  )


def test_the_step_of_two_simulated_devices_is_read():
  found = compiled(small_config(), 'cpu:2')
  assert found['fits'] and found['mesh'] == {'data': 2, 'model': 1}
  assert found['clips_per_chip'] == 4
  ratio = found['gmacs_per_chip'] / found['our_gmacs_per_chip']
  assert 0.5 < ratio < 1.3  # On CPU a depthwise convolution has no product.
  # The gradients, and next to nothing else.
  sums = messages(found, 'all-reduce', 'f32')
  assert 1 <= sums / found['gradients_bytes'] < 1.1
  assert found['memory_bytes'] > found['state_bytes'] > 0
  assert found['host_callbacks'] == 0
  assert found['forms'] == {
    'attention': 'all weights at once',
    'depthwise convolution': 'sums of shifted products',
  }


def test_a_recipe_is_chosen_for_the_machine_and_needs_no_videos(tmp_path):
  config = folder.get_config('frames=4,model=uniformer_test')
  config.data.crop = 32
  # 16 videos are usual; 15 of them divide over the devices.
  assert recipes.typical(configs.complete(config)).batch_size == 16
  found = fj.compile_for(config, tmp_path, 'cpu:3')
  run_log.stop()
  assert found['train']['clips'] == 15
  log = (tmp_path / 'log.txt').read_text()
  assert 'leaves open is chosen for 200 videos and for cpu:3' in log


def test_a_mistake_in_a_recipe_is_found_before_there_is_a_workdir(tmp_path):
  config = folder.get_config('model=swinv2_t')
  config.data.crop = 30
  with pytest.raises(ValueError, match='crop'):
    fj.compile_for(config, tmp_path / 'run', 'cpu:2')
  assert not (tmp_path / 'run').exists()


def test_the_largest_batch_of_a_cpu_is_refused(tmp_path):
  with pytest.raises(ValueError, match=r'memory is known.*got cpu:2.*batch_si'):
    fj.compile_for(
      small_config(), tmp_path / 'run', 'cpu:2', largest_batch=True
    )
  assert not (tmp_path / 'run').exists()


def test_a_recipe_does_not_depend_on_the_devices_here(tmp_path, monkeypatch):
  class Open(Exception):
    """The keys that the compiler's process gets to choose."""

  def seen(spec, *_):
    raise Open(recipes.open_keys(configs.complete(spec['config'])))

  monkeypatch.setattr(compile_for, 'compile_one', seen)
  config = folder.get_config()
  config.sharding, config.mesh.model = 'tensor', 3  # There are eight here.
  with pytest.raises(Open, match='batch_size'):
    fj.compile_for(config, tmp_path, 'cpu:3')
  run_log.stop()


def test_a_program_is_planned_again_if_it_is_in_a_cache(tmp_path, monkeypatch):
  monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', str(tmp_path))
  monkeypatch.setenv('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
  monkeypatch.setenv('JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES', '-1')
  spec = spec_of(small_config(), 'cpu:1', 'evaluate')
  machine = Machine.parse('cpu:1')
  found = [compile_for.compile_one(spec, machine) for _ in range(2)]
  assert found[0]['memory_bytes'] == found[1]['memory_bytes'] > 0


def test_a_batch_that_does_not_divide_is_refused():
  config = small_config()
  config.batch_size = 9
  with pytest.raises(ValueError, match='must be a multiple of 2'):
    compiled(config, 'cpu:2')


# Needs the extras `tpu` and `cuda`, but neither of the machines.
@pytest.mark.parametrize(
  ('machine', 'attention'),
  [
    ('v5e:2x2', 'some queries at a time'),
    ('h100:1x1x4', "cuDNN's fused kernel"),
  ],
)
def test_no_clip_is_moved_and_gradients_are_summed_in_float32(
  machine, attention
):
  module, extra = EXTRAS[Machine.parse(machine).platform]
  if importlib.util.find_spec(module) is None:
    pytest.skip(f'{module} is not installed: pip install "{extra}".')
  config = small_config()
  config.model.dtype = 'bfloat16'
  found = compiled(config, machine)
  assert found['forms']['attention'] == attention
  assert not any(
    row['kind'] == 'collective-permute' for row in found['collectives']
  )
  # But for depthwise filters, of which there are more here than elsewhere.
  half = messages(found, 'all-reduce', 'bf16')
  assert half < 0.07 * messages(found, 'all-reduce', 'f32')


@pytest.mark.parametrize(
  ('text', 'whole'),
  [('ENTRY %main {\n}\n', True), ('ENTRY %main {\n  %x = f32[', False)],
)
def test_half_a_program_is_waited_for(text, whole, tmp_path):
  path = tmp_path / 'after_optimizations.txt'
  path.write_text(text)
  assert compile_for._is_whole(path) == whole
