# SPDX-License-Identifier: Apache-2.0
"""Exports: StableHLO, safetensors and ONNX give the logits of the model."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open

from configs import common
import flatten_jax as fj
from flatten_jax.checkpoints.checkpoints import Checkpoints, RunInfo
from flatten_jax.checkpoints.initial_weights import initial_weights
from flatten_jax.exporting import export, metadata, onnx_file, program
from flatten_jax.models.layers import devices
from flatten_jax.runtime.configuration import config as configs
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.loaded_model import LoadedModel
from flatten_jax.runtime.state import TrainState
from flatten_jax.training import optimizer

NAMES = ('fall', 'rise', 'turn')


def small_config(model='uniformer_test', crop=16, layout='row_major'):
  config = common.base()
  config.model.name = model
  if model.startswith('uniformer'):
    config.model.depth = (1, 0, 1, 0)  # A block of each kind.
  config.flatten = layout
  config.data.num_frames = 4
  config.data.crop = crop
  return configs.fill_and_check(config)


@pytest.fixture(scope='module')
def save(tmp_path_factory):
  """Makes the workdir of a run with the checkpoint of step 0."""

  def save(config):
    workdir = tmp_path_factory.mktemp('run')
    run = Experiment.create(config, NAMES)
    tx = optimizer.make(config)
    state = TrainState.create(*initial_weights(run), tx, config.ema)
    with Checkpoints(workdir) as checkpoints:
      checkpoints.save(state, RunInfo(NAMES, config.to_dict()), None)
    return workdir

  return save


@pytest.fixture(scope='module')
def workdir(save):
  return save(small_config())


@pytest.fixture(scope='module')
def exported(workdir):
  return fj.export(workdir, formats=['stablehlo', 'safetensors'])


def test_exported_files_give_the_same_logits(exported):
  assert exported['stablehlo'] < 1e-5
  assert exported['safetensors'] == 0


def test_stablehlo_runs_with_jax_alone(exported, workdir):
  code = """
import sys
sys.modules['flatten_jax'] = sys.modules['flax'] = None
import json, pathlib, numpy as np
from jax import export
folder = pathlib.Path(sys.argv[1])
program = export.deserialize((folder / 'model.stablehlo').read_bytes())
print(program.platforms)
clips = np.zeros((5, 4, 16, 16, 3), np.uint8)
names = json.loads((folder / 'metadata.json').read_text())['class_names']
print([names[i] for i in np.argmax(program.call(clips), axis=-1)])
"""
  done = subprocess.run(
    [sys.executable, '-I', '-c', code, str(workdir / 'export')],
    capture_output=True,
    text=True,
    check=True,
  )
  platforms, answers = done.stdout.splitlines()
  assert platforms == "('cpu', 'cuda', 'tpu')"
  assert any(answers == str([name] * 5) for name in NAMES)


def test_the_metadata_describes_input_and_classes(exported, workdir):
  described = json.loads((workdir / 'export' / 'metadata.json').read_text())
  assert described['class_names'] == list(NAMES)
  assert described['input']['shape'] == ['b', 4, 16, 16, 3]
  assert described['clip']['stride'] == 4
  assert described['inside']['frame_order'] == [0, 1, 2, 3]
  assert described['inside']['mean'] == [0.45, 0.45, 0.45]
  assert described['config']['model']['name'] == 'uniformer_test'
  with safe_open(workdir / 'export' / 'model.safetensors', 'numpy') as file:
    assert json.loads(file.metadata()['flatten_jax']) == described
    assert 'patch_embed1.proj.weight' in file.keys()  # noqa: SIM118


def test_an_exported_file_starts_a_run_as_its_workdir_does(save):
  config = small_config()
  config.channels, config.mean = 'bgr', (0.1, 0.2, 0.3)
  workdir = save(config)
  fj.export(workdir, formats=['safetensors'])
  file, found = workdir / 'export' / 'model.safetensors', []
  for source in (workdir, file, file.parent):
    config = common.base()
    config.model.name, config.model.depth = 'uniformer_test', (1, 0, 1, 0)
    config.model.pretrained = str(source)
    config.data.num_frames, config.data.crop = 4, 16
    config = configs.fill_and_check(config)
    assert (config.channels, config.mean) == ('bgr', (0.1, 0.2, 0.3))
    found.append(initial_weights(Experiment.create(config, NAMES[::-1])))
    spec = fj.create_model(
      'uniformer_test', 3, source, depth=(1, 0, 1, 0)
    ).input_spec
    assert (spec.channels, tuple(spec.mean)) == ('bgr', config.mean)
  for other in found[1:]:
    jax.tree.map(np.testing.assert_array_equal, other, found[0])


def test_what_a_file_says_of_itself_is_checked(tmp_path):
  path = tmp_path / 'model.safetensors'
  model = fj.create_model('uniformer_test', 3)
  for text in ('[1]', '{"config": {}}', '{"config": 3, "class_names": "abc"}'):
    fj.export_torch(model, path, metadata={'flatten_jax': text})
    with pytest.raises(ValueError, match='does not describe a model of'):
      configs.config_of_weights(path)
  wrong = {'model': {'name': 'm:f'}, 'data': {'crop': 8}}
  text = json.dumps({'config': wrong, 'class_names': NAMES})
  fj.export_torch(model, path, metadata={'flatten_jax': text})
  with pytest.raises(ValueError, match='code of your own'):
    configs.config_of_weights(path)


def test_a_bgr_model_is_exported_for_rgb_clips():
  config = small_config('resnet_test', 8)
  config.mean = (0.1, 0.2, 0.3)
  weights = initial_weights(Experiment.create(config, NAMES))
  clips = np.random.default_rng(0).integers(0, 256, (2, 4, 8, 8, 3), np.uint8)
  logits = {}
  for channels in ('rgb', 'bgr'):
    config.channels = channels
    model = LoadedModel(Experiment.create(config, NAMES), *weights)
    described = metadata.describe(model)
    assert described['inside']['channels'] == channels
    assert 'RGB' in described['input']['axes']
    pixels = clips[..., ::-1] if channels == 'rgb' else clips
    logits[channels] = program.program(model)(pixels)
  np.testing.assert_allclose(logits['bgr'], logits['rgb'], rtol=1e-6)


@pytest.mark.parametrize('channels', ['rgb', 'motion'])
def test_a_random_layout_is_exported_as_one_order(save, channels):
  config = small_config('resnet_test', 8, 'random')
  config.channels = channels
  workdir = save(configs.fill_and_check(config))
  assert fj.export(workdir, formats=['stablehlo'])['stablehlo'] < 1e-5
  described = json.loads((workdir / 'export' / 'metadata.json').read_text())
  order = described['inside']['frame_order']
  assert sorted(order) == [0, 1, 2, 3]


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_onnx_computes_a_model_of_16_bits_in_float32(dtype):
  config = small_config('resnet_test', 8)
  config.model.dtype = dtype
  run = Experiment.create(config, NAMES)
  model = LoadedModel(run, *initial_weights(run))
  assert metadata.describe(model)['computed_in'] == {
    'stablehlo': dtype,
    'onnx': 'float32',
  }
  clips = jax.ShapeDtypeStruct((2, *program.clip_shape(model)), np.uint8)
  exact = program.in_float32(model)
  for each, has_16_bits in ((model, True), (exact, False)):
    text = str(jax.make_jaxpr(program.program(each))(clips))
    assert ('f16[' in text) is has_16_bits
  assert program.in_float32(exact) is exact


def test_a_model_of_16_bits_is_exported(save):
  config = small_config('resnet_test', 8)
  config.model.dtype = 'bfloat16'
  assert fj.export(save(config), formats=['stablehlo'])['stablehlo'] < 0.05


def test_a_file_that_does_not_run_is_removed_and_the_others_stay(
  workdir, tmp_path, monkeypatch
):
  def write(function, clips, path, properties):
    path.write_bytes(b'not a model')

  monkeypatch.setattr(onnx_file, 'write', write)
  monkeypatch.setattr(program, 'to_stablehlo', lambda model: b'not a program')
  assert fj.export(workdir, tmp_path) == {'safetensors': 0}
  text = (tmp_path / 'log.txt').read_text()
  assert 'No model.stablehlo: it does not run: ' in text
  assert 'No model.onnx: it does not run: ' in text
  files = {'log.txt', 'metadata.json', 'model.safetensors'}
  assert {path.name for path in tmp_path.iterdir()} == files
  for formats in (['stablehlo'], ['safetensors', 'onnx']):
    with pytest.raises(RuntimeError, match=rf'{formats[-1]}: it does not run'):
      fj.export(workdir, tmp_path, formats)
  assert {path.name for path in tmp_path.iterdir()} == files


@pytest.fixture
def fast(monkeypatch):
  """Programs that are a few bytes, and differ by nothing."""
  compare = lambda kind, model, path, reference: 0.0  # noqa: E731
  monkeypatch.setattr(program, 'to_stablehlo', lambda model: b'program')
  monkeypatch.setattr(export, '_reference', lambda model: None)
  monkeypatch.setattr(export, '_compare', compare)
  monkeypatch.setitem(sys.modules, 'jax2onnx', None)


def contents(folder):
  """Returns the bytes of each file but the log."""
  files = {p.name: p for p in folder.iterdir() if p.name != 'log.txt'}
  return {name: path.read_bytes() for name, path in files.items()}


@pytest.fixture
def of_before(workdir, tmp_path, fast):
  """A folder of exports, with a program of another step."""
  folder = tmp_path / 'before'
  fj.export(workdir, folder, ['stablehlo'])
  (folder / 'model.onnx').write_bytes(b'of before')
  described = json.loads((folder / 'metadata.json').read_text())
  (folder / 'metadata.json').write_text(json.dumps(described | {'step': 7}))
  return folder


def test_a_failing_export_leaves_the_files_of_before(workdir, of_before):
  before = contents(of_before)
  for formats in (['onnx'], ['safetensors', 'onnx']):
    with pytest.raises(RuntimeError, match='has the files of before'):
      fj.export(workdir, of_before, formats)
    assert contents(of_before) == before


def test_other_formats_stay_while_the_metadata_does(workdir, of_before):
  (of_before / 'notes.txt').write_text('mine')
  fj.export(workdir, of_before, ['safetensors'])
  names = {'metadata.json', 'model.safetensors', 'notes.txt'}
  assert contents(of_before).keys() == names
  fj.export(workdir, of_before, ['stablehlo'])
  assert contents(of_before).keys() == names | {'model.stablehlo'}


def test_an_export_replaces_no_model_of_others(workdir, tmp_path, fast):
  fj.push(workdir, tmp_path / 'pushed')
  (tmp_path / 'other').mkdir()
  (tmp_path / 'other' / 'model.onnx').write_bytes(b'mine')
  for name, words in (
    ('pushed', 'is a model that was pushed'),
    ('other', r'contains model\.onnx, which no export has written'),
  ):
    before = contents(tmp_path / name)
    with pytest.raises(ValueError, match=words):
      fj.export(workdir, tmp_path / name, ['safetensors'])
    assert contents(tmp_path / name) == before


def test_an_export_removes_what_a_killed_one_left(workdir, tmp_path, fast):
  for name in ('killed', 'at_work'):
    (tmp_path / f'.unchecked_{name}' / 'onnx').mkdir(parents=True)
  with export._locked(tmp_path / '.unchecked_at_work'):
    fj.export(workdir, tmp_path, ['safetensors'])
  left = [path.name for path in tmp_path.glob('.unchecked_*')]
  assert left == ['.unchecked_at_work']


def test_the_trial_finds_the_packages_of_the_command(
  workdir, tmp_path, monkeypatch
):
  """They may be the user's own, or on PYTHONPATH of a bare interpreter."""
  (tmp_path / 'only_here.py').touch()
  script = tmp_path / 'script.py'
  script.write_text('import only_here, sys, numpy; print(sys.argv[1:])')
  monkeypatch.syspath_prepend(str(tmp_path))
  monkeypatch.setattr(sys, 'executable', sys._base_executable)
  done = subprocess.run(
    export.isolated_command(script, 'a'),
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.stdout == "['a']\n", done.stderr


def test_files_have_the_permissions_of_any_new_file(exported, workdir):
  folder = workdir / 'export'
  modes = {path.name: path.stat().st_mode for path in folder.iterdir()}
  assert set(modes.values()) == {modes['metadata.json']}


def test_a_format_that_cannot_be_written_is_refused(workdir, monkeypatch):
  with pytest.raises(ValueError, match=r'Cannot export as tflite.*stablehlo'):
    fj.export(workdir, formats=['tflite'])
  monkeypatch.setitem(sys.modules, 'jax2onnx', None)
  with pytest.raises(RuntimeError, match=r'pip install --no-deps jax2onnx'):
    fj.export(workdir, formats=['onnx'])
  with pytest.raises(FileNotFoundError, match='No checkpoints'):
    fj.export(workdir / 'nowhere')


def rewritten(function, clips):
  """Returns `function` as given to jax2onnx, and its primitives' names."""
  with devices.cross_platform_export():
    jaxpr = jax.make_jaxpr(function)(clips)
  function = lambda x: onnx_file.evaluate(jaxpr.jaxpr, jaxpr.consts, [x])  # noqa: E731
  names = {e.primitive.name for e in jax.make_jaxpr(function)(clips).jaxpr.eqns}
  return jax.jit(function), names


@pytest.mark.parametrize(
  'name', ['efficientnet_lite_test', 'uniformer_test', 'uniformer3d_test']
)
def test_rewriting_for_onnx_changes_no_logit(name):
  run = Experiment.create(small_config(name, 32), NAMES)
  model = LoadedModel(run, *initial_weights(run))
  clips = np.random.default_rng(0).integers(0, 256, (3, 4, 32, 32, 3), np.uint8)
  function, names = rewritten(program.program(model), clips)
  refused = {'clamp', 'custom_vjp_call', 'platform_index', 'cond', 'scan'}
  assert not names & refused
  (logits,) = function(clips)
  np.testing.assert_allclose(
    logits, program.reference_logits(model, clips), atol=1e-5
  )


@pytest.mark.parametrize('stride', [1, 2])
def test_3d_convolutions_become_sums_of_2d_convolutions(stride):
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.standard_normal((2, 5, 6, 6, 4), np.float32))
  kernel = jnp.asarray(rng.standard_normal((3, 2, 2, 2, 6), np.float32))

  def conv(x):
    return jax.lax.conv_general_dilated(
      x,
      kernel,
      window_strides=(stride, 2, 2),
      padding=((1, 1), (0, 0), (0, 1)),
      dimension_numbers=('NTHWC', 'THWIO', 'NTHWC'),
      feature_group_count=2,
    )

  function, _ = rewritten(conv, x)
  (out,) = function(x)
  assert out.shape == conv(x).shape
  np.testing.assert_allclose(out, conv(x), atol=1e-5)


@pytest.mark.slow
def test_onnx_gives_the_same_logits(workdir):
  pytest.importorskip('jax2onnx', exc_type=ImportError)
  onnxruntime = pytest.importorskip('onnxruntime')
  assert fj.export(workdir, workdir / 'onnx', ['onnx'])['onnx'] < 1e-5
  session = onnxruntime.InferenceSession(workdir / 'onnx' / 'model.onnx')
  properties = session.get_modelmeta().custom_metadata_map
  described = json.loads(properties['flatten_jax'])
  assert described['class_names'] == list(NAMES)
  (clips,) = session.get_inputs()
  assert clips.type == 'tensor(uint8)'
  assert clips.shape == ['b', 4, 16, 16, 3]
