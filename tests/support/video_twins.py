# SPDX-License-Identifier: Apache-2.0
"""Logits and gradients of tiny video transformers with weights by name."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

import flatten_jax as fj
from tests.support import official

TWINS = (
  'video_swin_test',
  'timesformer_test',
  'vivit_test',
  'vivit_fe_test',
  'vidtr_test',
  'vtn_test',
)
_SHAPE = (2, 3, 4, 32, 48)  # [B C T H W]


def measure(name: str) -> dict:
  """Returns logits [B K], their loss and norms of its gradients."""
  model = fj.create_model(name, 5, dtype='float64')
  weights = {
    key: official.fill(key, value.shape)
    for key, value in fj.export_torch(model).items()
  }
  fj.load_torch(model, weights)
  graphdef, params = nnx.split(model)
  cotangent = official.generator('cotangent', (2, 5)).standard_normal((2, 5))
  given = {'positions': np.array([[0, 90, 180, 270]])} if 'vtn' in name else {}
  params, x = jax.tree.map(
    lambda x: jnp.asarray(x, 'float64'), (params, official.images(_SHAPE))
  )

  @jax.jit
  def run(params, x):
    def loss(params, x):
      logits = nnx.merge(graphdef, params)(x, **given)
      return (logits * cotangent).sum(), logits

    return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, x)

  (grads, grad_x), logits = run(params, x)
  norms = {k: float(np.linalg.norm(g)) for k, g in official.flat(grads).items()}
  return {
    'logits': np.asarray(logits).tolist(),
    'input': np.sqrt(np.square(grad_x).sum(axis=(2, 3, 4))).tolist(),
    'parameters': norms,
  }
