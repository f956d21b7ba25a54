# SPDX-License-Identifier: Apache-2.0
"""Image networks beside timm's: weights by name, and what is compared.

fixtures/timm_images.json has what timm computes, in float64.
"""

import dataclasses
import json
import pathlib

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

import flatten_jax as fj
from tests.support import official

FILE = pathlib.Path(__file__).parents[1] / 'fixtures' / 'timm_images.json'
NUM_CLASSES = 10
TWINS = {  # Name of a case -> our model, its input [N C H W].
  'vit_test_square': ('vit_test', (2, 3, 32, 32)),
  'vit_test_rectangle': ('vit_test', (2, 3, 64, 24)),
  'convnext_test': ('convnext_test', (2, 3, 64, 75)),  # Strides round down.
}
# Two rows of four frames of 112 px, or of three of 96 px, as one image.
FULL = {
  'vit_small': ('vit_small_patch16_224', (1, 3, 224, 224)),
  'vit_small_rectangle': ('vit_small_patch16_224', (1, 3, 224, 448)),
  'vit_base': ('vit_base_patch16_224', (1, 3, 224, 224)),
  'vit_base_rectangle': ('vit_base_patch16_224', (1, 3, 192, 288)),
  'convnext_tiny': ('convnext_tiny', (1, 3, 224, 224)),
  'convnext_tiny_rectangle': ('convnext_tiny', (1, 3, 192, 288)),
  'convnext_small': ('convnext_small', (2, 3, 96, 96)),
  'efficientnet_lite0': ('efficientnet_lite0', (1, 3, 96, 160)),
}
CASES = TWINS | FULL


@dataclasses.dataclass(frozen=True)
class Found:
  """Logits [B K], and the gradient of sum(logits * cotangent).

  Attributes:
    logits: [B K].
    image: of the input, [B H W C].
    parameters: of each tensor, by timm's name.
  """

  logits: np.ndarray
  image: np.ndarray
  parameters: dict[str, np.ndarray]


def fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
  """Returns the weights of timm's name and shape; tables are not small."""
  if name == 'pos_embed':
    noise = official.generator(name, shape).standard_normal(shape)
    return (0.5 * noise).astype(np.float32)
  return official.fill(name, shape)


def cotangent(case: str) -> np.ndarray:
  """Returns what logits are multiplied with, [B K]."""
  shape = (CASES[case][1][0], NUM_CLASSES)
  return official.generator('cotangent', shape).standard_normal(shape)


def load(case: str, dtype: str) -> nnx.Module:
  """Builds our model with timm's weights, by their names."""
  options = {} if 'efficientnet' not in case else {'dropout': 0}
  model = fj.create_model(CASES[case][0], NUM_CLASSES, dtype=dtype, **options)
  state = fj.export_torch(model, naming='timm')
  report = fj.load_torch(
    model, {name: fill(name, value.shape) for name, value in state.items()}
  )
  assert not report.left_at_init + report.dropped + report.resized
  return model


def run(case: str, dtype: str) -> Found:
  """Computes what timm did, by our model."""
  model = load(case, dtype)
  graphdef, params, rest = nnx.split(model, nnx.Param, ...)
  weights = cotangent(case)

  def loss(params, rest, x):
    logits = nnx.merge(graphdef, params, rest)(x)
    return (logits * weights).sum(), logits

  x = official.images(CASES[case][1])
  args = jax.tree.map(lambda x: jnp.asarray(x, dtype), (params, rest, x))
  compute = jax.jit(jax.grad(loss, argnums=(0, 2), has_aux=True))
  (params, image), logits = jax.device_get(compute(*args))
  nnx.update(model, params)
  gradients = fj.export_torch(model, naming='timm')
  learned = {k: v for k, v in gradients.items() if 'running' not in k}
  learned = {k: v for k, v in learned.items() if 'num_batches' not in k}
  return Found(logits, image, learned)


def summary(found: Found) -> dict[str, np.ndarray]:
  """Returns what the file has of a case: values, and norms of gradients.

  Norms of parameters are in the order of their names, on which values depend.
  """
  image = found.image.astype(np.float64)
  places = (np.linspace(0, n - 1, 5).astype(int) for n in image.shape[1:3])
  gradients = (found.parameters[name] for name in sorted(found.parameters))
  return {
    'logits': found.logits,
    'image': image[:, *np.ix_(*places)],
    'image_norms': np.linalg.norm(image, axis=(1, 2)),
    'parameters': np.array(
      [np.linalg.norm(x.astype(np.float64).ravel()) for x in gradients]
    ),
  }


def write(golden: dict[str, dict[str, np.ndarray]]) -> None:
  """Writes what timm computed, to 12 digits, a line for each case."""
  lines = []
  for case, values in golden.items():
    rounded = {
      key: np.vectorize(lambda x: float(f'{x:.12g}'))(value).tolist()
      for key, value in values.items()
    }
    lines.append(f'"{case}": {json.dumps(rounded, separators=(",", ":"))}')
  FILE.write_text('{\n' + ',\n'.join(lines) + '\n}\n')


def truth(case: str) -> dict[str, np.ndarray]:
  """Returns what timm computed."""
  values = json.loads(FILE.read_text())[case]
  return {key: np.array(value) for key, value in values.items()}
