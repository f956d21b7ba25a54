# SPDX-License-Identifier: Apache-2.0
"""Image models that are not ours, made to look like ours to training.

`config.model.name = 'package.module:function'` names a function that builds
one: `function(num_classes=..., rngs=..., **options)` returns a Flax NNX module,
or a Linen one. It takes images [B H W 3], gives logits [B K], and need know
nothing of video.
"""

from collections.abc import Callable
import importlib
import inspect
from typing import Any

from flax import linen, nnx
from flax.nnx import bridge
import jax
import jax.numpy as jnp

from flatten_jax.models import input_specs

# Options of every config that ask for nothing.
_NEUTRAL = {'drop_path_rate': 0.0, 'dtype': 'float32', 'remat': False}


def is_path(name: str) -> bool:
  """Whether a model's name is a Python path, 'package.module:function'."""
  return ':' in name


def build(
  path: str,
  num_classes: int,
  rngs: nnx.Rngs,
  image_shape: tuple[int, int] = (224, 224),
  **options,
) -> 'Foreign':
  """Imports and calls the function, and wraps what it returns.

  Args:
    path: 'package.module:function'; what `import` finds, the folder that
      `python main.py` is called from included.
    num_classes: K, passed on.
    rngs: for the initial values, passed on.
    image_shape: height and width of the images it will see; a Linen module
      has no parameters until it has seen one.
    **options: passed on; those of ours that change nothing only where they
      are known.

  Raises:
    ValueError: there is no such function, it does not take these options, or
      it returns something else.
  """
  function = _function(path)
  options = {'num_classes': num_classes, 'rngs': rngs} | {
    name: value
    for name, value in options.items()
    if _takes(function, name) or _NEUTRAL.get(name) != value
  }
  if refused := [name for name in options if not _takes(function, name)]:
    raise ValueError(
      f'{path} takes {inspect.signature(function)}, but would be called with '
      f'{", ".join(refused)} as well: let it, or leave it out of config.model.'
    )
  model = function(**options)
  if isinstance(model, linen.Module):
    model = _from_linen(model, rngs, image_shape)
  if not isinstance(model, nnx.Module):
    raise ValueError(
      f'{path} returned a {type(model).__name__}. Training needs parameters: '
      'return a flax.nnx.Module or a flax.linen.Module. (Any function from '
      'images to logits can be called on clips with fj.Flattened.)'
    )
  return Foreign(model)


def input_spec(path: str) -> input_specs.InputSpec:
  """Returns the `input_spec` of a model's function, or the default."""
  return getattr(_function(path), 'input_spec', input_specs.InputSpec())


def _function(path: str) -> Callable[..., Any]:
  """What 'package.module:function' names."""
  module_name, _, name = path.partition(':')
  try:
    module = importlib.import_module(module_name)
  except ModuleNotFoundError as error:
    raise ValueError(
      f'The model {path!r} should be package.module:function, but '
      f'{error.name!r} cannot be imported.'
    ) from error
  if not callable(function := getattr(module, name, None)):
    raise ValueError(
      f'The model {path!r} should be package.module:function, but '
      f'{module_name} has no function {name!r}.'
    )
  return function


def unwrapped(model: nnx.Module) -> nnx.Module:
  """The model itself, as it evaluates: to call `features` and `classify` of.

  One of Linen stays wrapped, since these would ask for its variables.
  """
  if not isinstance(model, Foreign) or isinstance(model.model, bridge.ToNNX):
    return model
  model.model.eval()
  return model.model


def _takes(function: Callable[..., Any], name: str) -> bool:
  """Whether a function can be called with an argument of this name."""
  parameters = inspect.signature(function).parameters
  kinds = {parameter.kind for parameter in parameters.values()}
  return name in parameters or inspect.Parameter.VAR_KEYWORD in kinds


def _from_linen(
  module: linen.Module, rngs: nnx.Rngs, image_shape: tuple[int, int]
) -> nnx.Module:
  """A Linen module with its variables, as an NNX module."""
  model = bridge.ToNNX(module, rngs=rngs)
  images = jnp.zeros((1, *image_shape, 3))
  return bridge.lazy_init(model, images, **_told(module, train=False))


def _told(model: Any, train: bool) -> dict[str, bool]:
  """The argument by which a model is told that it is trained, if it has one."""
  call = type(model).__call__
  for name in ('train', 'training'):
    if _takes(call, name):
      return {name: train}
  return {'deterministic': not train} if _takes(call, 'deterministic') else {}


class Foreign(nnx.Module):
  """A model of another origin: images [B H W 3] -> logits [B K].

  In training it is told so as it wants to be told: by an argument `train`,
  `training` or `deterministic`, or by the modes of NNX (`model.train()`).
  Its own random streams are taken out: the step's, which depend on seed and
  step alone, stand in for them.
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

  def _set_streams(self, rngs: nnx.Rngs | None) -> None:
    """Gives every layer that draws random numbers this source of them."""
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
  ) -> jax.Array:
    """[B H W 3] -> [B K]; `rngs` feeds dropout, stream `dropout`."""
    if isinstance(self.model, bridge.ToNNX):
      told = _told(self.model.to_nnx__module, train)
      mutable = ['batch_stats'] if train else False
      return self.model(images, rngs=rngs, mutable=mutable, **told)
    self.model.train() if train else self.model.eval()
    told = _told(self.model, train)
    if _takes(type(self.model).__call__, 'rngs'):
      return self.model(images, rngs=rngs, **told)
    self._set_streams(rngs)
    logits = self.model(images, **told)
    self._set_streams(None)
    return logits
