# SPDX-License-Identifier: Apache-2.0
"""Starting from the weights of an earlier run."""

import dataclasses
import logging

from flax import nnx, traverse_util
import jax
import numpy as np
import optax
import pytest

import flatten_jax as fj
from flatten_jax.checkpoints.checkpoints import Checkpoints, RunInfo
from flatten_jax.checkpoints.initial_weights import initial_weights
from flatten_jax.models import registry
from flatten_jax.models.entries.entry import PublishedWeights
from flatten_jax.models.layers import positions
from flatten_jax.runtime import model_factory
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.runtime.state import TrainState
from tests.support import image_weights, torch_writer

CLASSES = ('down', 'left', 'right', 'up')


@pytest.fixture
def earlier(config, tmp_path):
  """A workdir with one checkpoint, and the weights in it."""
  run = Experiment.create(config, CLASSES)
  params, batch_stats = initial_weights(run)
  params = jax.tree.map(lambda p: p + 1, params)
  state = TrainState.create(params, batch_stats, optax.sgd(0.1))
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(state, RunInfo(CLASSES, config.to_dict()), None)
  return tmp_path, params


def test_the_same_classes_keep_the_head(config, earlier):
  workdir, theirs = earlier
  config.model.pretrained = str(workdir)
  params, _ = initial_weights(Experiment.create(config, CLASSES))
  jax.tree.map(np.testing.assert_array_equal, params, theirs)


def test_the_same_classes_in_another_order_keep_their_outputs(config, earlier):
  """Two published lists may number the same classes differently."""
  workdir, theirs = earlier
  config.model.pretrained = str(workdir)
  classes = ('left', 'down', 'up', 'right')
  params, _ = initial_weights(Experiment.create(config, classes))
  for name, value in theirs['head'].items():
    ours = np.asarray(params['head'][name])
    for i, label in enumerate(classes):
      column = np.asarray(value)[..., CLASSES.index(label)]
      np.testing.assert_array_equal(ours[..., i], column)


def test_new_non_local_blocks_change_nothing_at_first_and_learn(
  config, tmp_path
):
  config.model.name = 'i3d_test'
  del config.model.depth
  config.model.non_local = ((), (), (), ())
  run = Experiment.create(config, CLASSES)
  plain = initial_weights(run)
  state = TrainState.create(*plain, optax.sgd(0.1))
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(state, RunInfo(CLASSES, config.to_dict()), None)
  config.model.pretrained = str(tmp_path)
  del config.model.non_local
  with pytest.raises(ValueError, match='another model'):
    initial_weights(Experiment.create(config, CLASSES))

  config.batch_norm_frozen = 'all'
  longer = Experiment.create(config, CLASSES)
  params, batch_stats = initial_weights(longer)
  clips = jax.random.normal(jax.random.key(0), (1, 4, 64, 64, 3))
  logits = nnx.merge(longer.graphdef, params, batch_stats)(clips)
  np.testing.assert_array_equal(logits, nnx.merge(run.graphdef, *plain)(clips))
  block = params['stages'][2][0]['non_local']
  assert (block['norm']['scale'] == 1).all() and (
    block['g']['kernel'] != 0
  ).any()


def test_both_heads_of_a_model_are_loaded(config, tmp_path):
  config.model.name = 'uniformer_light_test'
  run = Experiment.create(config, CLASSES)
  state = TrainState.create(*initial_weights(run), optax.sgd(0.1))
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(state, RunInfo(CLASSES, config.to_dict()), None)
  config.model.pretrained = str(tmp_path)
  turned, _ = initial_weights(Experiment.create(config, CLASSES[::-1]))
  for head in ('head', 'head_cls'):
    theirs, ours = state.params[head]['kernel'], turned[head]['kernel']
    np.testing.assert_array_equal(ours, theirs[:, ::-1])
  others, _ = initial_weights(Experiment.create(config, ('here', 'there')))
  assert others['head_cls']['bias'].shape == (2,)


def test_the_head_of_an_external_model_is_loaded_by_class_name(
  config, tmp_path
):
  config.model.name = 'tests.support.plain_cnn:build_linen'
  del config.model.depth
  config.model.drop_path_rate = 0.0
  run = Experiment.create(config, CLASSES)
  state = TrainState.create(*initial_weights(run), optax.sgd(0.1))
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(state, RunInfo(CLASSES, config.to_dict()), None)
  config.model.pretrained = str(tmp_path)
  turned = Experiment.create(config, CLASSES[::-1])
  head = model_factory.head_axes(turned.config, len(CLASSES))
  assert len(head) == 2
  ours, theirs = by_name(initial_weights(turned)[0]), by_name(state.params)
  for name, axis in head.items():
    np.testing.assert_array_equal(ours[name], np.flip(theirs[name], axis))
  other = initial_weights(Experiment.create(config, ('back', *CLASSES[1:])))[0]
  drawn = by_name(initial_weights(run)[0])
  for name, value in by_name(other).items():
    np.testing.assert_array_equal(
      value, (drawn if name in head else theirs)[name]
    )


def by_name(params):
  flat = traverse_util.flatten_dict(params)
  return {model_factory.dotted(path): value for path, value in flat.items()}


def test_the_head_of_published_weights_is_loaded_by_class_name(
  config, caplog, monkeypatch
):
  monkeypatch.setattr(logging.getLogger('flatten_jax'), 'propagate', True)
  del config.model.depth
  config.model.name, config.data.crop = 'uniformer_nano', 32
  classes = registry.MODELS['uniformer_nano'].weights['quickstart']
  classes = classes.read_class_names()

  def head(pretrained, classes):
    config.model.pretrained = pretrained
    return initial_weights(Experiment.create(config, classes))[0]['head']

  theirs, fresh = (head(source, classes) for source in ('quickstart', ''))
  assert (theirs['bias'] != fresh['bias']).all()
  turned = head('quickstart', classes[::-1])
  other = head('quickstart', ('walk', *classes[1:]))
  assert f'other classes, such as {classes[0]!r}' in caplog.text
  for name, value in theirs.items():
    np.testing.assert_array_equal(turned[name], value[..., ::-1])
    np.testing.assert_array_equal(other[name], fresh[name])


def test_the_head_of_a_file_without_names_is_loaded_by_their_number(
  config, earlier, tmp_path, caplog, monkeypatch
):
  monkeypatch.setattr(logging.getLogger('flatten_jax'), 'propagate', True)
  caplog.set_level('INFO', 'flatten_jax')
  options = {'depth': config.model.depth}
  model = fj.create_model('uniformer_test', 4, earlier[0], **options)
  fj.export_torch(model, tmp_path / 'plain.safetensors')
  config.model.pretrained = str(tmp_path / 'plain.safetensors')
  params, _ = initial_weights(Experiment.create(config, tuple('abcd')))
  jax.tree.map(np.testing.assert_array_equal, params, earlier[1])
  assert 'head is taken to be for these classes' in caplog.text


@pytest.mark.parametrize(
  'classes', [('down', 'left', 'up'), ('left', 'down', 'right', 'back')]
)
def test_other_classes_get_a_new_head(config, earlier, classes):
  workdir, theirs = earlier
  fresh, _ = initial_weights(Experiment.create(config, classes))
  config.model.pretrained = str(workdir)
  params, _ = initial_weights(Experiment.create(config, classes))
  jax.tree.map(np.testing.assert_array_equal, params['head'], fresh['head'])
  del params['head'], theirs['head']
  jax.tree.map(np.testing.assert_array_equal, params, theirs)


def test_the_error_about_another_model_lists_differing_parameters(
  config, earlier
):
  config.model.pretrained = str(earlier[0])
  config.model.name = 'uniformer_nano'
  with pytest.raises(ValueError, match=r'embeds\.0\.proj\.kernel'):
    initial_weights(Experiment.create(config, CLASSES))


@pytest.mark.parametrize(
  ('twin', 'theirs', 'old', 'ours', 'new'),
  [
    ('vivit_test', (4, 32, 48), (2, 2, 3), (8, 64, 32), (4, 4, 2)),
    ('vivit_fe_test', (4, 32, 48), (2, 2, 3), (6, 48, 32), (3, 3, 2)),
    ('vtn_test', (32, 48), (1, 2, 3), (64, 32), (1, 4, 2)),
  ],
)
def test_position_tables_are_interpolated_for_clips_of_another_size(
  twin, theirs, old, ours, new, config, tmp_path
):
  """`old` and `new` are the patches along time, height and width."""
  option = 'size' if twin == 'vtn_test' else 'clip_shape'
  del config.model.depth
  config.model.name, config.data.crop = twin, 32
  config.model[option] = theirs
  earlier = Experiment.create(config, CLASSES)
  state = TrainState.create(*initial_weights(earlier), optax.sgd(0.1))
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(state, RunInfo(CLASSES, config.to_dict()), None)
  config.model[option], config.model.pretrained = ours, str(tmp_path)
  params, _ = initial_weights(Experiment.create(config, CLASSES))
  saved, params = by_name(state.params), by_name(params)
  tables = {'pos_embeds.0': slice(None)}
  if 'fe' in twin:
    tables = {'pos_embeds.0': slice(1, None), 'pos_embeds.1': slice(1)}
  for name, axes in tables.items():
    table = saved[name][0]
    saved[name] = positions.resize_rest(table, new[axes], old[axes])[None]
  for name, value in saved.items():
    np.testing.assert_allclose(params[name], value, atol=1e-7)


def test_the_table_of_a_vit_is_resampled_for_another_size(config, tmp_path):
  del config.model.depth
  config.model.name = 'vit_test'
  state = TrainState.create(
    *initial_weights(Experiment.create(config, CLASSES)), optax.sgd(0.1)
  )
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(state, RunInfo(CLASSES, config.to_dict()), None)
  config.model.size, config.model.pretrained = 48, str(tmp_path)
  params, _ = initial_weights(Experiment.create(config, CLASSES))
  saved, params = by_name(state.params), by_name(params)
  table = positions.resample_rest(saved['pos_embed'][0], (6, 6))
  saved['pos_embed'] = table[None]
  for name, value in saved.items():
    np.testing.assert_allclose(params[name], value, atol=1e-7)


def test_a_source_without_weights_is_refused(config, tmp_path):
  config.model.pretrained = str(tmp_path / 'nowhere')
  with pytest.raises((FileNotFoundError, ValueError), match='nowhere'):
    initial_weights(Experiment.create(config, CLASSES))
  config.model.pretrained = str(tmp_path)
  with pytest.raises(FileNotFoundError, match='training run'):
    initial_weights(Experiment.create(config, CLASSES))


def test_averaged_weights_are_loaded_if_there_are_any(config, tmp_path):
  run = Experiment.create(config, CLASSES)
  tx = optax.sgd(0.1)
  state = TrainState.create(*initial_weights(run), tx, ema=0.9)
  average = jax.tree.map(lambda p: p + 1, state.average)
  state = state.replace(average=average)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(state, RunInfo(CLASSES, config.to_dict()), None)
  config.model.pretrained = str(tmp_path)
  params, batch_stats = initial_weights(Experiment.create(config, CLASSES))
  jax.tree.map(np.testing.assert_array_equal, params, average['params'])
  jax.tree.map(
    np.testing.assert_array_equal, batch_stats, average['batch_stats']
  )


@pytest.mark.slow
def test_a_run_from_earlier_weights_starts_at_step_0_and_logs_its_new_head(
  config, earlier, tmp_path
):
  """With a learning rate of 0, everything but the head stays unchanged."""
  workdir, theirs = earlier
  config.model.pretrained = str(workdir)
  config.epochs, config.warmup_epochs = 1.0, 0.5
  config.lr = config.warmup_lr = config.min_lr = 0.0
  state = fj.train_and_evaluate(config, tmp_path / 'transferred')
  assert int(state.step) == 3
  text = (tmp_path / 'transferred' / 'log.txt').read_text()
  assert 'except head.bias, head.kernel (other classes)' in text.replace(
    'head.kernel, head.bias', 'head.bias, head.kernel'
  )
  assert 'Resuming after' not in text
  params = jax.device_get(state.params)
  assert params['head']['kernel'].shape[-1] == 12
  del params['head'], theirs['head']
  jax.tree.map(np.testing.assert_array_equal, params, theirs)


IMAGES = {  # Twin -> sizes of the image ViT that it starts as; None is a Swin.
  'video_swin_test': None,
  'timesformer_test': {'dim': 8, 'side': 2},
  'vivit_test': {},
  'vivit_fe_test': {},
  'vidtr_test': {},
  'vtn_test': {'layers': 1},
}


@pytest.mark.parametrize('named', [False, True])
@pytest.mark.parametrize('twin', IMAGES)
def test_video_models_start_from_files_of_image_models(
  twin, named, config, tmp_path, monkeypatch
):
  path, model = tmp_path / 'image.pth', fj.create_model(twin)
  sizes = IMAGES[twin]
  image = image_weights.swin(model) if sizes is None else {}
  image = image or image_weights.vit(**sizes)
  torch_writer.save(path, {'model': image} if sizes is None else image)
  del config.model.depth
  config.model.name, config.model.pretrained = twin, ''
  config.data.crop = 32
  fresh, _ = initial_weights(Experiment.create(config, CLASSES))
  config.model.pretrained = str(path)
  if named:
    config.model.pretrained = 'imagenet1k'
    weights = {'imagenet1k': PublishedWeights(path.as_uri())}
    entry = dataclasses.replace(registry.MODELS[twin], weights=weights)
    monkeypatch.setitem(registry.MODELS, twin, entry)

  params, _ = initial_weights(Experiment.create(config, CLASSES))

  jax.tree.map(np.testing.assert_array_equal, params['head'], fresh['head'])
  stem = 'embeds.0.proj.bias' if sizes is None else 'embeds.0.bias'
  np.testing.assert_array_equal(
    by_name(params)[stem], image['patch_embed.proj.bias']
  )


@pytest.mark.parametrize('twin', ['i3d_test', 'tsn_test'])
def test_a_model_of_clips_starts_from_the_run_of_a_resnet(
  twin, config, tmp_path
):
  """Averaged frames keep the head of the same classes."""
  del config.model.depth
  depth, width = {'i3d_test': ((1, 2, 2, 2), 4), 'tsn_test': ((1, 2, 1, 1), 4)}[
    twin
  ]
  config.model.name = 'resnet_test'
  config.model.depth, config.model.width = depth, width
  run = Experiment.create(config, CLASSES)
  params, stats = initial_weights(run)
  stats = jax.tree.map(lambda x: x + 1, stats)
  state = TrainState.create(params, stats, optax.sgd(0.1))
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(state, RunInfo(CLASSES, config.to_dict()), None)
  config.model.name, config.data.crop = twin, 64
  fresh = by_name(initial_weights(Experiment.create(config, CLASSES))[0])
  config.model.pretrained = str(tmp_path)

  ours, stats = initial_weights(Experiment.create(config, CLASSES))

  ours, theirs = by_name(ours), by_name(params)
  clips = twin == 'i3d_test'
  head = fresh if clips else theirs
  np.testing.assert_array_equal(ours['head.kernel'], head['head.kernel'])
  turned = by_name(initial_weights(Experiment.create(config, CLASSES[::-1]))[0])
  if not clips:
    np.testing.assert_array_equal(
      turned['head.kernel'], head['head.kernel'][:, ::-1]
    )
  name, time = 'stages.1.0.conv1.kernel', 3 if clips else None
  value = theirs[name]
  value = np.stack([value / time] * time) if clips else value
  np.testing.assert_allclose(ours[name], value, rtol=1e-6)
  stem = 'embeds.0.norm.mean' if clips else 'norm.mean'
  np.testing.assert_array_equal(by_name(stats)[stem], 1)
