# SPDX-License-Identifier: Apache-2.0
"""A step of a model of clips, or of images, is the same on any devices."""

import math
import re

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
import flatten_jax as fj
from flatten_jax.runtime import state
from flatten_jax.runtime.configuration import config as configs
from flatten_jax.runtime.devices import sharding
from flatten_jax.runtime.experiment import Experiment
from flatten_jax.training import optimizer, setup
from tests.support.video_twins import TWINS

CLASSES = tuple('abcde')
SLOW = pytest.mark.slow
DEPTHS = dict.fromkeys(TWINS, 1) | dict.fromkeys(
  ('video_swin_test', 'motion_squeeze_test'), (1, 1, 1, 1)
)
# Parameters larger than `fsdp_min_size` that tensor parallelism leaves whole:
# patches, positions, class tokens, the head, what merges patches, and depthwise
# kernels of ConvNeXt, whose outputs are normalized over all channels.
WHOLE = (
  r'embeds/\d+/(proj/)?kernel|embeds/\d+/reduction/kernel|head/kernel|neck/'
  r'kernel|cls_t|cls_s|(pos|time|frame|type)_embeds?(/\d)?|stages/.*/bias_table'
  r'|stages/.*/depthwise/kernel'
)


def step(twin, rule='replicated', devices=None, **model):
  """Returns loss, parameters and gradients' norm after a step of SGD."""
  config = common.base()
  config.model.name = twin
  config.model.drop_path_rate = 0.1
  if twin in DEPTHS:
    config.model.depth = DEPTHS[twin]
  config.model.update(model)
  config.data.num_frames, config.data.crop = 4, 32
  config.batch_size, config.fsdp_min_size = 8, 64
  config.optimizer, config.lr, config.weight_decay = 'sgd', 0.1, 0.0
  config.grad_clip_norm = config.warmup_epochs = 0.0
  config.compile_cache = ''
  config.sharding, config.mesh.model = rule, 2 if 'tensor' in rule else 1
  run = Experiment.create(configs.fill_and_check(config), CLASSES, devices)
  tx = optimizer.make(config)
  rng = np.random.default_rng(0)
  batch = {
    'clip': rng.integers(0, 256, (8, 4, 32, 32, 3), np.uint8),
    'label': np.arange(8, dtype=np.int32) % 5,
  }
  update = setup.make_train_step(run, tx)
  after, metrics = update(
    setup.initial_state(run, tx),
    run.to_devices(batch),
    run.to_all_devices(config.lr),
  )
  return jax.device_get((metrics['loss'], metrics['grad_norm'], after.params))


@pytest.fixture(scope='module')
def on_one_device():
  """Returns the step of a twin on a single device."""
  known = {}

  def get(twin):
    if twin not in known:
      known[twin] = step(twin, devices=jax.devices()[:1])
    return known[twin]

  return get


@pytest.mark.parametrize(
  ('twin', 'rule', 'remat'),
  [
    *((twin, 'fsdp+tensor', True) for twin in TWINS),
    pytest.param('vit_test', 'fsdp+tensor', True, marks=SLOW),
    pytest.param('convnext_test', 'fsdp+tensor', False, marks=SLOW),
    pytest.param('timesformer_test', 'replicated', True, marks=SLOW),
    pytest.param('timesformer_test', 'fsdp', False, marks=SLOW),
    pytest.param('timesformer_test', 'tensor', False, marks=SLOW),
    pytest.param('motion_squeeze_test', 'fsdp', True, marks=SLOW),
    pytest.param('slowfast_test', 'fsdp+tensor', True, marks=SLOW),
  ],
)
def test_a_divided_step_is_that_of_one_device(twin, rule, remat, on_one_device):
  ours = step(twin, rule, remat=remat)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
    ours,
    on_one_device(twin),
  )


@pytest.mark.slow
@pytest.mark.parametrize('twin', ['video_swin_test', 'vtn_test'])
def test_a_step_in_bfloat16_is_close_to_that_in_float32(twin, on_one_device):
  loss, norm, params = step(twin, dtype='bfloat16', devices=jax.devices()[:1])
  expected = on_one_device(twin)
  np.testing.assert_allclose(loss, expected[0], rtol=0.02)
  np.testing.assert_allclose(norm, expected[1], rtol=0.1)
  assert {x.dtype for x in jax.tree.leaves(params)} == {np.dtype('float32')}


@pytest.mark.parametrize(
  'name',
  [
    'video_swin_b',
    'timesformer_hr',
    'vivit_l',
    'vivit_l_fe',
    'vtn_b',
    'vidtr_l',
    'vit_base_patch16_224',
    'convnext_small',
  ],
)
def test_tensor_parallelism_divides_all_large_kernels(name):
  config = common.base()
  config.sharding, config.mesh.model = 'tensor', 2
  model = nnx.eval_shape(lambda: fj.create_model(name, 400))
  _, params, _ = state.split(model)
  places = sharding.of_tree(params, config, sharding.make_mesh(config))
  whole, sizes = set(), {True: 0, False: 0}
  for (path, place), leaf in zip(
    jax.tree_util.tree_leaves_with_path(places),
    jax.tree.leaves(params),
    strict=True,
  ):
    divided = 'model' in place.spec
    sizes[divided] += leaf.size
    if not divided and leaf.size >= config.fsdp_min_size:
      whole.add(jax.tree_util.keystr(path, simple=True, separator='/'))
  unexpected = [key for key in whole if not re.fullmatch(WHOLE, key)]
  assert not unexpected
  assert sizes[True] > 0.9 * sum(sizes.values())


def products(program):
  """Yields the shapes of all values in a program."""
  for equation in program.eqns:
    yield from (x.aval.shape for x in equation.outvars)
    for value in jax.tree.leaves(
      equation.params, is_leaf=lambda x: hasattr(x, 'jaxpr')
    ):
      value = getattr(value, 'jaxpr', value)
      if hasattr(value, 'eqns'):
        yield from products(value)


@pytest.mark.parametrize(
  ('name', 'clip', 'heads', 'sequences', 'positions'),
  [
    ('vivit_l', (32, 224, 224), 16, 1, 3137),
    ('timesformer_hr', (16, 448, 448), 12, 16, 785),
  ],
)
def test_many_positions_never_attend_as_a_square(
  name, clip, heads, sequences, positions
):
  model = nnx.eval_shape(
    lambda: fj.create_model(name, 400, depth=1, remat=True)
  )
  graphdef, weights = nnx.split(model)

  def loss(weights, clips):
    return nnx.merge(graphdef, weights)(clips, train=True).sum()

  clips = jax.ShapeDtypeStruct((1, *clip, 3), jnp.float32)
  program = jax.make_jaxpr(jax.grad(loss))(weights, clips)
  shapes = set(products(program.jaxpr))
  assert not [s for s in shapes if s.count(positions) > 1]
  # Nor in blocks that exist at once.
  whole = heads * sequences * positions**2
  assert max(map(math.prod, shapes)) < whole / 2
