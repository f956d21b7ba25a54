# SPDX-License-Identifier: Apache-2.0
"""Tests of the published forms of video transformers' weights."""

import json
import pathlib

from flax import nnx, serialization, traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.models import weights_options
from flatten_jax.models.weights import conversion
from tests.support import official, torch_writer

FIXTURES = pathlib.Path(__file__).parents[2] / 'fixtures'

LAYOUTS = {
  'optimizer.target': lambda tree: {'optimizer': {'target': tree}},
  'optimizer.target.params': lambda t: {'optimizer': {'target': {'params': t}}},
  'params': lambda tree: {'params': tree},
}


def noisy(name, **options):
  """Returns a model with no two equal values."""
  model = fj.create_model(name, 5, **options)
  rng = np.random.default_rng(0)
  nnx.update(
    model,
    traverse_util.unflatten_dict(
      {
        path: rng.standard_normal(x.shape).astype(np.float32)
        for path, x in conversion._tensors(model).items()
      }
    ),
  )
  return model


def same(a, b):
  a, b = conversion._tensors(a), conversion._tensors(b)
  assert a.keys() == b.keys()
  return all(np.array_equal(a[path], b[path]) for path in a)


def write_flax(path, state, layout):
  tree = traverse_util.unflatten_dict(state, sep='.')
  content = LAYOUTS[layout](tree) | {'global_step': 7, 'model_state': {}}
  if 'optimizer' in content:  # Moments have the names of the parameters.
    content['optimizer']['state'] = {'param_states': tree}
  else:
    content['opt_state'] = {'0': {'trace': {'params': tree}}}
  path.write_bytes(serialization.msgpack_serialize(content))


@pytest.mark.parametrize('naming', ['scenic', 'scenic_pre_linen'])
@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('twin', ['vivit_test', 'vivit_fe_test'])
def test_scenics_files_are_read_in_every_layout(twin, layout, naming, tmp_path):
  model, other = noisy(twin), fj.create_model(twin, 5)
  state = fj.export_torch(model, naming=naming)
  write_flax(tmp_path / 'checkpoint', state, layout)
  report = fj.load_torch(other, tmp_path / 'checkpoint')
  assert same(model, other)
  assert not (report.resized or report.left_at_init or report.dropped)


def test_names_joined_by_slashes_are_read():
  model, other = noisy('vivit_test'), fj.create_model('vivit_test', 5)
  state = fj.export_torch(model)
  fj.load_torch(other, {k.replace('.', '/'): v for k, v in state.items()})
  assert same(model, other)


def test_leftovers_of_a_flax_file_are_refused(tmp_path):
  state = fj.export_torch(noisy('vivit_fe_test', temporal_depth=3))
  write_flax(tmp_path / 'checkpoint', state, 'params')
  model = fj.create_model('vivit_fe_test', 5)
  with pytest.raises(ValueError, match=r'Only in the file: Temporal.*block_2'):
    fj.load_torch(model, tmp_path / 'checkpoint')


def test_the_depth_in_time_is_taken_from_the_file(tmp_path):
  deep = noisy('vivit_fe_test', temporal_depth=3)
  write_flax(tmp_path / 'checkpoint', fj.export_torch(deep), 'params')
  path = str(tmp_path / 'checkpoint')
  assert same(deep, fj.create_model('vivit_fe_test', 5, pretrained=path))


def test_the_error_about_another_depth_tells_the_files(tmp_path):
  state = fj.export_torch(noisy('vtn_test', temporal_depth=3))
  model = fj.create_model('vtn_test', 5)
  with pytest.raises(ValueError, match=r'has 3 blocks.*temporal_depth=3'):
    fj.load_torch(model, state)


MOMENTS = {'state': {0: {'exp_avg': np.ones(3, np.float32)}}}
POSITIONS = {'temporal_encoder.embeddings.position_ids': np.arange(288)[None]}
# Files as the authors' programs write them, around the tensors.
FORMS = {
  'mmaction': lambda x: {'meta': 'a', 'state_dict': x, 'optimizer': MOMENTS},
  'slowfast': lambda x: {
    'epoch': 14,
    'model_state': x,
    'optimizer_state': MOMENTS,
    'cfg': 'TRAIN: true',
  },
  'gluonmm': lambda x: {'model': x, 'optimizer': MOMENTS, 'epoch': 49},
  'flat': lambda x: x,
}


@pytest.mark.parametrize('wrapped', [False, True])
@pytest.mark.parametrize(
  ('twin', 'publisher', 'form'),
  [
    ('video_swin_test', 'microsoft', 'mmaction'),
    ('video_swin_test', 'openmmlab', 'mmaction'),
    ('video_swin_test', 'torchvision', 'flat'),
    ('timesformer_test', 'facebook', 'slowfast'),
    ('timesformer_test', 'hugging_face', 'flat'),
    ('vivit_test', 'hugging_face', 'flat'),
    ('vtn_test', 'vtn', 'slowfast'),
    ('vidtr_test', 'gluonmm', 'gluonmm'),
  ],
)
def test_every_published_form_is_read(twin, publisher, form, wrapped, tmp_path):
  model, path = noisy(twin), str(tmp_path / 'published.pyth')
  state = fj.export_torch(model, naming=publisher)
  if publisher == 'vtn':
    state |= POSITIONS
  if wrapped:
    state = {f'module.{key}': value for key, value in state.items()}
  torch_writer.save(path, FORMS[form](state))
  assert same(model, fj.create_model(twin, 5, pretrained=path))

  report = fj.load_torch(fj.create_model(twin, 5), path)
  assert not (report.resized or report.left_at_init or report.dropped)

  name = next(key for key in state if key.endswith('.weight'))
  state[f'{name}_of_another'] = state[name]
  with pytest.raises(ValueError, match=r'Only in the file: .*_of_another'):
    fj.load_torch(fj.create_model(twin, 5), FORMS[form](state))


@pytest.mark.parametrize(
  ('twin', 'options'),
  [('timesformer_test', {}), ('vivit_test', {'clip_shape': (4, 32, 32)})],
)
def test_files_of_hugging_face_give_its_logits(twin, options):
  golden = json.loads((FIXTURES / 'hugging_face.json').read_text())[twin]
  state = {k: official.fill(k, tuple(x)) for k, x in golden['shapes'].items()}
  size = options.get('clip_shape', (4, 48, 48))[1]
  with jax.enable_x64(True):
    model = fj.create_model(twin, 5, dtype='float64', **options)
    fj.load_torch(model, state)
    graphdef, params = nnx.split(model)
    params = jax.tree.map(lambda x: jnp.asarray(x, 'float64'), params)
    model = nnx.merge(graphdef, params)
    logits = model(official.images((2, 3, 4, size, size)))
  # Its ViViT has a softmax in float32.
  atol = {'timesformer_test': 1e-12, 'vivit_test': 1e-7}[twin]
  np.testing.assert_allclose(logits, golden['logits'], rtol=0, atol=atol)


@pytest.mark.parametrize(
  'twin, old',
  [
    ('vivit_test', (4, 32, 32)),
    ('vivit_test', (8, 32, 48)),
    ('vivit_fe_test', (4, 32, 32)),
    ('vivit_fe_test', (8, 48, 48)),
  ],
)
def test_clips_of_another_size_need_an_allowance(twin, old):
  source, model = noisy(twin, clip_shape=old), fj.create_model(twin, 5)
  state = fj.export_torch(source)
  with pytest.raises(ValueError, match='would interpolate'):
    fj.load_torch(model, state)
  report = fj.load_torch(model, state, allow={'positions'})
  assert report.resized
  x = np.zeros((1, 4, 32, 48, 3), np.float32)
  # The model interpolates in the same way by itself.
  np.testing.assert_allclose(model(x), source(x), atol=1e-4)


@pytest.mark.parametrize(
  ('name', 'source', 'options'),
  [
    ('vivit_b', 'kinetics400', {}),
    ('vivit_b_fe', 'kinetics400', {'temporal_depth': 12}),
    ('vivit_l_fe', 'kinetics400', {'temporal_depth': 24}),
    ('video_swin_b', 'ssv2', {'window': (16, 7, 7)}),
    ('timesformer_l', 'ssv2', {'frames': 64}),
  ],
)
def test_published_weights_bring_the_options_that_they_need(
  name, source, options
):
  assert weights_options(name, source) == options
