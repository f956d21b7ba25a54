# SPDX-License-Identifier: Apache-2.0
"""The profile: its measurements, its page and its verdict."""

import functools
import json

import jax
from jax.experimental.compilation_cache import compilation_cache
import numpy as np
import pytest

from configs import common
import flatten_jax as fj
from flatten_jax.compiling import compile_for
from flatten_jax.inputs.synthetic import motion_clips
from flatten_jax.profiling import profile, profile_page, speed, timing
from flatten_jax.profiling.peak import peak_flops
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.workdir import run_log

FIGURES = {
  'clips_per_second': 800.0,
  'waiting_percent': 5.0,
  'step_ms': 100.0,
  'step_ms_p10': 99.0,
  'step_ms_p90': 102.5,
  'step_count': 30,
  'prepare_ms': 0.5,
  'prepare_ms_p10': 0.5,
  'prepare_ms_p90': 0.6,
  'prepare_count': 30,
  'normalize_ms': 0.4,
  'clips_per_step': 100,
  'gflops_per_view': 50.0,
  'peak_tflops': 989.0,
  'input_clips_per_second': 3000.0,
  'cpu_ms_per_clip': 20.0,
  'cores': 16,
  'readers': [15, 4],
  'memory_arguments': 2**30,
  'memory_temporary': 3 * 2**20,
  'memory_peak': [5 * 2**30, None],
  'compile_seconds': 40.0,
  'compile_cached': True,
}


@pytest.fixture
def config(tmp_path):
  config = common.base()
  config.model.name = 'uniformer_test'
  config.model.depth = (1, 0, 1, 0)
  config.model.pretrained = 'imagenet1k'  # Not fetched.
  root = motion_clips.make(
    tmp_path / 'clips', train=24, val=12, test=12, progress=False
  )
  config.data.root = str(root)
  config.data.num_frames, config.data.crop = 4, 16
  config.batch_size, config.epochs, config.warmup_epochs = 8, 2.0, 1.0
  config.compile_cache = ''
  # The time of compilation is measured, so nothing comes from the cache.
  compilation_cache.reset_cache()
  jax.config.update('jax_enable_compilation_cache', False)
  yield config
  jax.config.update('jax_enable_compilation_cache', True)
  compilation_cache.reset_cache()
  run_log.stop()


class Seen(Exception):
  """The config that a mode would build its network from."""


@pytest.mark.parametrize(
  'measure',
  [
    fj.profile,
    fj.find_batch_size,
    speed.measure,
    functools.partial(fj.compile_for, topology='cpu:1'),
  ],
)
def test_the_network_is_the_one_that_is_trained(
  measure, config, tmp_path, monkeypatch
):
  def seen(found, *args):
    raise Seen(found['config'] if 'config' in found else found.to_dict())

  monkeypatch.setattr(Experiment, 'create', seen)
  monkeypatch.setattr(compile_for, 'compile_one', seen)
  config.model.name, config.data.crop = 'vivit_l_fe', 224
  del config.model.depth
  config.model.pretrained = 'kinetics400'
  with pytest.raises(Seen) as error:
    measure(config, tmp_path / 'run')
  model = error.value.args[0]['model']
  assert (model['temporal_depth'], model['pretrained']) == (24, '')


def test_a_profile_writes_a_page_and_a_trace_and_no_checkpoint(
  config, tmp_path
):
  workdir = tmp_path / 'run'
  found = fj.profile(config, workdir, num_steps=5)
  left = {path.name for path in workdir.iterdir()}
  assert left == {'profile', 'profile.md', 'profile.json', 'log.txt'}
  assert json.loads((workdir / 'profile.json').read_text()) == found
  assert list((workdir / 'profile').rglob('*.xplane.pb'))
  assert list((workdir / 'profile').rglob('perfetto_trace.json.gz'))
  page = (workdir / 'profile.md').read_text()
  for name, text in profile_page.rows(found):
    assert f'| {name} | {text} |' in page
  assert str(workdir / 'profile') in page
  for key in ('clips_per_second', 'input_clips_per_second', 'step_ms'):
    assert found[key] > 0
  assert 0 <= found['waiting_percent'] <= 100
  assert found['cpu_ms_per_clip'] > 0
  assert found['memory_arguments'] > 3 * 4 * 5600  # With two moments.
  assert found['memory_temporary'] > 0
  assert found['devices'] == 8
  assert not found['compile_cached'] and found['compile_seconds'] > 0


def test_the_share_of_the_peak_counts_the_backward_pass_twice():
  found = profile.shares(FIGURES)
  assert found['tflop_per_step'] == pytest.approx(100 * 0.05 * 2 * 3)
  assert found['tflops'] == pytest.approx(300)
  assert found['peak_percent'] == pytest.approx(100 * 300 / 989)
  assert found['step_clips_per_second'] == pytest.approx(1000)
  assert found['prepare_percent'] == pytest.approx(0.5)
  assert found['layout_percent'] == pytest.approx(0.1)
  assert profile.shares(FIGURES | {'peak_tflops': None})['peak_percent'] is None


def test_values_are_formatted_with_suitable_units():
  figures = FIGURES | profile.shares(FIGURES)
  rows = dict(profile_page.rows(figures))
  assert rows['training'] == (
    '800.0 clips/s, waiting for videos 5 % of the time'
  )
  assert rows['step alone'] == (
    '1,000.0 clips/s, 100 ms (99 to 102.5, 30 times)'
  )
  assert '15 processes x 4 threads' in rows['input alone']
  assert rows['model FLOPs'] == (
    '30.0 TFLOP per step, 300.0 TFLOP/s: 30.3 % of a peak of 989 TFLOP/s'
  )
  assert 'at most 5.00 GiB in use' in rows['memory of each device']
  unknown = figures | {'peak_tflops': None, 'tflops': 0.021}
  text = dict(profile_page.rows(unknown))['model FLOPs']
  assert '21 GFLOP/s: the peak of this device is unknown' in text


def test_the_page_mentions_that_steps_on_images_are_left_out():
  about = dict.fromkeys(
    ('date', 'model', 'dtype', 'frames', 'crop', 'devices', 'device', 'trace'),
    'x',
  )
  about |= {'layout': 'nested', 'image': [8, 8]}
  about |= {'machine': {'libraries': {'jax': '1'}, 'commit': 'c'}}
  figures = FIGURES | profile.shares(FIGURES) | about
  data = common.base().data
  assert 'data.images' not in profile_page.page(figures, data)
  data.images = '/images'
  assert 'images (`data.images`)' in profile_page.page(figures, data)


def test_the_verdict_names_what_limits_the_speed():
  figures = FIGURES | profile.shares(FIGURES)
  assert '3.0 times as many' in profile_page.verdict(figures)
  figures['waiting_percent'] = 40.0
  assert 'The input limits' in profile_page.verdict(figures)


@pytest.mark.parametrize(
  ('kind', 'bfloat16', 'float32'),
  [
    ('NVIDIA A100-SXM4-80GB', 312, 156),
    ('NVIDIA H100 80GB HBM3', 989, 494.5),
    ('NVIDIA H100 PCIe', 756, 378),
    ('NVIDIA H200', 989, 494.5),
    ('NVIDIA L4', 121, 60),
    ('NVIDIA L40S', 362, 183),
    ('Tesla T4', 8.1, 8.1),
    ('Tesla V100-SXM2-16GB', 15.7, 15.7),
    ('TPU v4', 275, 275),
    ('TPU v5 lite', 197, 197),
    ('TPU v5', 459, 459),
    ('TPU v5p', 459, 459),
    ('TPU v6 lite', 918, 918),
    ('TPU7x', 1153.5, 1153.5),
  ],
)
def test_the_peak_is_looked_up_by_the_name_of_the_device(
  kind, bfloat16, float32
):
  assert peak_flops(kind, 'bfloat16') == bfloat16 * 1e12
  assert peak_flops(kind, 'float32') == float32 * 1e12
  half = None if 'T4' in kind or 'V100' in kind else bfloat16 * 1e12
  assert peak_flops(kind, 'float16') == half


@pytest.mark.parametrize('kind', ['cpu', 'NVIDIA GeForce RTX 3090', 'TPU v40'])
def test_an_unknown_device_has_no_peak(kind):
  assert peak_flops(kind, 'bfloat16') is None


def test_durations_are_measured_on_the_device(monkeypatch):
  """Calls end every 10 ms, whatever the host does before."""
  ends = np.cumsum([0.010] * 12)
  calls = iter(ends)
  monkeypatch.setattr(timing, 'end_of', lambda value: value)
  monkeypatch.setattr(jax, 'block_until_ready', lambda value: value)
  found = timing.durations('step', lambda: next(calls), 9)
  assert found.pop('step_count') == 9
  for key in ('step_ms', 'step_ms_p10', 'step_ms_p90'):
    assert found.pop(key) == pytest.approx(10)
  assert not found


def test_slow_machines_make_fewer_steps():
  assert timing.affordable(30, 1e-3) == 30
  assert timing.affordable(30, 6.0) == 10
  assert timing.affordable(30, 1000.0) == timing.LEAST
