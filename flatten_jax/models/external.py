# SPDX-License-Identifier: Apache-2.0
"""Image models of other packages, adapted to the training loop.

`config.model.name = 'package.module:function'` names a function that builds
one: `function(num_classes=..., rngs=..., **options)` returns a Flax NNX module,
or a Linen one. It takes images [B H W 3], returns logits [B K], and need know
nothing of video. An attribute `input_spec` of the function, an `InputSpec`,
sets the clips and the normalization that the model expects.
"""

from collections.abc import Callable
import inspect
from typing import Any

from flax import linen, nnx
from flax.nnx import bridge
import jax
import jax.numpy as jnp

from flatten_jax.importing import import_function
from flatten_jax.models import input_specs

# Options of every config, with the values that change nothing.
_NEUTRAL = {'drop_path_rate': 0.0, 'dtype': 'float32', 'remat': False}


def input_spec(path: str) -> input_specs.InputSpec:
  """Returns the `input_spec` of a model's function, or the default."""
  function = import_function(path, 'model')
  return getattr(function, 'input_spec', input_specs.InputSpec())


def build(
  path: str,
  num_classes: int,
  rngs: nnx.Rngs,
  image_shape: tuple[int, int] = (224, 224),
  in_channels: int = 3,
  **options,
) -> 'ExternalModel':
  """Imports and calls the function, and wraps the model that it returns.

  Args:
    path: 'package.module:function', which Python can import; the folder that
      `python main.py` is called from included.
    num_classes: K, passed on.
    rngs: for the initial values, passed on.
    image_shape: height and width of the images; a Linen module creates its
      parameters for one of them.
    in_channels: of the images, likewise; passed on if the function accepts it.
    **options: passed on. Options of every config that change nothing are left
      out if the function does not accept them.

  Raises:
    ValueError: there is no such function, it does not accept these options, or
      it does not return a module.
  """
  function = import_function(path, 'model')
  if _accepts(function, 'in_channels'):
    options['in_channels'] = in_channels
  options = {'num_classes': num_classes, 'rngs': rngs} | {
    name: value
    for name, value in options.items()
    if _accepts(function, name) or _NEUTRAL.get(name) != value
  }
  if refused := [name for name in options if not _accepts(function, name)]:
    raise ValueError(
      f'{path} takes {inspect.signature(function)}, and does not accept '
      f'{", ".join(refused)}. Add the argument, or remove it from config.model.'
    )
  model = function(**options)
  if isinstance(model, linen.Module):
    model = _from_linen(model, rngs, (*image_shape, in_channels))
  if not isinstance(model, nnx.Module):
    raise ValueError(
      f'{path} returned a {type(model).__name__}. Training needs parameters: '
      'return a flax.nnx.Module or a flax.linen.Module. (Any function from '
      'images to logits can be called on clips with fj.Flattened.)'
    )
  if in_channels != 3 and not (
    isinstance(model, bridge.ToNNX) or _accepts(function, 'in_channels')
  ):
    raise ValueError(
      f'{path} takes {inspect.signature(function)}, and images have '
      f'{in_channels} channels (data.input): add the argument in_channels.'
    )
  return ExternalModel(model)


def inner_model(model: nnx.Module) -> nnx.Module:
  """Returns the module inside an external model, in evaluation mode.

  Its `features` and `classify` can be called. Other models, and Linen modules,
  whose methods need their variables, are returned unchanged.
  """
  if not isinstance(model, ExternalModel) or isinstance(
    model.model, bridge.ToNNX
  ):
    return model
  model.model.eval()
  return model.model


def _accepts(function: Callable[..., Any], name: str) -> bool:
  """Returns whether a function can be called with an argument of this name."""
  parameters = inspect.signature(function).parameters
  kinds = {parameter.kind for parameter in parameters.values()}
  return name in parameters or inspect.Parameter.VAR_KEYWORD in kinds


def _from_linen(
  module: linen.Module, rngs: nnx.Rngs, image_shape: tuple[int, int, int]
) -> nnx.Module:
  """Converts a Linen module, with its variables, to an NNX module."""
  model = bridge.ToNNX(module, rngs=rngs)
  images = jnp.zeros((1, *image_shape))
  return bridge.lazy_init(model, images, **_train_kwargs(module, train=False))


def _train_kwargs(model: Any, train: bool) -> dict[str, bool]:
  """Returns the argument that switches a model to training, if it has one."""
  call = type(model).__call__
  for name in ('train', 'training'):
    if _accepts(call, name):
      return {name: train}
  if _accepts(call, 'deterministic'):
    return {'deterministic': not train}
  return {}


class ExternalModel(nnx.Module):
  """A model of another package: images [B H W 3] -> logits [B K].

  Passes `train`, `training` or `deterministic`, whichever the model's
  `__call__` accepts, or else sets the modes of NNX (`model.train()`). Replaces
  the model's own random streams by those of the training step, which depend
  only on the seed and the step.
  """

  def __init__(self, model: nnx.Module):
    self.model = model
    self.streams = tuple(
      (path, name)
      for path, module in nnx.iter_modules(model)
      for name, value in vars(module).items()
      if isinstance(value, nnx.Rngs | nnx.RngStream)
    )
    self._set_streams(None)

  @property
  def takes_positions(self) -> bool:
    """True if the model also takes the numbers of frames, `positions` [B T]."""
    return getattr(self.model, 'takes_positions', False)

  def _set_streams(self, rngs: nnx.Rngs | None) -> None:
    """Sets the random stream of every layer that draws random numbers."""
    for path, name in self.streams:
      module = self.model
      for part in path:
        module = (
          module[part] if isinstance(part, int) else getattr(module, part)
        )
      setattr(module, name, nnx.data(rngs))

  def __call__(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    **positions: jax.Array,
  ) -> jax.Array:
    """[B H W 3] -> [B K]; `rngs` feeds dropout, stream `dropout`."""
    if isinstance(self.model, bridge.ToNNX):
      kwargs = _train_kwargs(self.model.to_nnx__module, train) | positions
      mutable = ['batch_stats'] if train else False
      return self.model(images, rngs=rngs, mutable=mutable, **kwargs)
    self.model.train() if train else self.model.eval()
    kwargs = _train_kwargs(self.model, train) | positions
    if _accepts(type(self.model).__call__, 'rngs'):
      return self.model(images, rngs=rngs, **kwargs)
    self._set_streams(rngs)
    logits = self.model(images, **kwargs)
    self._set_streams(None)
    return logits
