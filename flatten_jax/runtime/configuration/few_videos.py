# SPDX-License-Identifier: Apache-2.0
"""Chooses what `configs/folder.py` leaves open, by the videos and the device.

`table` has every choice with its reason, and is the place to change one. A
value that a person gives is kept, and those below it in the table follow it.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import functools
from typing import Any

from flax import nnx
import ml_collections
import numpy as np

from flatten_jax import models
from flatten_jax.inputs.sampling import rules
from flatten_jax.models.weights import download
from flatten_jax.runtime import preprocess
from flatten_jax.runtime.configuration import clip_rules, default_config
from flatten_jax.runtime.devices import batch_norm

# Key, value, and reason; '' for what is just off, which is not logged.
Choice = tuple[str, Any, str]

SMALL_MODEL = 'uniformer_nano'
SMALL_MODELS = (SMALL_MODEL, 'uniformer3d_nano')
# Weights of SMALL_MODEL that come with this package.
MOTIONS, MOTIONS_RGB = 'motions', 'motions_rgb'
# Clips to train on, and the fewest and most epochs, by the kind of model: very
# small with weights of its own, from random weights, from pretrained weights.
EPOCHS = ((40_000, 20, 100), (100_000, 20, 150), (30_000, 10, 60))
LEAST_STEPS = 6  # Of an epoch; a batch is smaller for that.
TEST_CLIPS = 5
VAL_SHARE = 0.12  # Of the training videos, held back for validation.
LEAST_VAL = 8  # Videos that can tell which checkpoint is best.


@dataclasses.dataclass(frozen=True)
class Facts:
  """The facts that choices depend on.

  Attributes:
    train: number of training videos, without those that are held back.
    val: number of validation videos that have labels.
    test: number of test videos that have labels.
    smallest, largest: numbers of training videos of two classes.
    lengths: numbers of frames of some training videos, ascending.
    side: the first class whose name does not rule out that it differs from
      another in its side, such as 'turn left' or '7'; or ''.
    device: 'cpu', 'gpu' or 'tpu'.
    devices: number of devices that a batch is divided over.
  """

  train: int = 200
  val: int = 0
  test: int = 0
  smallest: int = 20
  largest: int = 20
  lengths: tuple[int, ...] = ()
  side: str = ''
  device: str = 'cpu'
  devices: int = 1

  @property
  def on_cpu(self) -> bool:
    """Returns whether a CPU is all that there is."""
    return self.device == 'cpu'


def table(config: ml_collections.ConfigDict, facts: Facts) -> Iterator[Choice]:
  """Yields every choice; `config` has those above it when the next is made."""
  yield from _of_model(config, facts)
  models.check_options(config.model.name, _options(config))
  yield from _of_clips(config, facts)
  yield from _of_augmentation(config, facts)
  yield from _of_steps(config, facts)
  yield from _of_validation(config, facts)


def _of_model(config, facts) -> Iterator[Choice]:
  why = 'trains in minutes; was better than larger ones on few filmed videos'
  yield 'model.name', SMALL_MODEL, why
  weights = _weights(config.model.name)
  if 'flow' in config.data.input:
    weights = ''
  if weights == MOTIONS:
    weights = _of_motions(config)
  why = {
    '': 'it starts from random weights',
    MOTIONS: 'knows 119 motions',
    MOTIONS_RGB: 'knows 119 motions in colors',
  }
  yield 'model.pretrained', weights, why.get(weights, 'knows photographs')
  yield 'model.drop_path_rate', *_by_kind(config, 0.0, 0.05, 0.1)


def _of_clips(config, facts) -> Iterator[Choice]:
  yield 'data.sampling', *_sampling(config)
  yield 'data.num_frames', *_num_frames(config, facts)
  yield 'data.crop', *_crop(config, facts)
  yield 'data.short_side', config.data.crop * 5 // 4, 'a margin to crop from'
  square = (config.data.short_side,) * 2
  yield 'data.resize', *_by_kind(config, square, (), (), 'all of a wide frame')
  yield 'channels', *_channels(config)
  yield 'data.num_crops', 3, 'tests see all of a wide frame'
  larger, why = (
    config.data.crop * 9 // 8,
    'px, so things look as large as in training',
  )
  yield 'data.test_short_side', *_by_kind(config, larger, 0, 0, why)
  rule = rules.RULES.get(config.data.sampling)
  single = config.clip_model == 'one_frame' or (rule and rule.one_clip)
  clips = 1 if single else TEST_CLIPS
  yield 'data.num_clips', clips, 'clips of a test video, of other frames each'
  yield 'data.val_clips', clips, 'as in the test' * bool(facts.val)
  yield 'data.frame_cache_gib', 2.0, 'memory, so that videos are decoded once'


def _of_augmentation(config, facts) -> Iterator[Choice]:
  area, why = (0.5, 1.0), 'a smaller share may miss the action'
  if config.data.crop_method != 'area':
    area, why = default_config.data().crop_area, ''  # It does not act.
  yield 'data.crop_area', area, why
  yield 'data.time_crop', (0.7, 1.0), 'actions begin and end at any time'
  given = config.data.input or models.input_spec(config.model.name).input
  flow = 'flow' in given
  tilt = 0.0 if flow else 15.0
  yield 'data.rotation', tilt, 'degrees, cameras tilt' * bool(tilt)
  why = 'no class is named for a side; False if left and right tell classes'
  if facts.side:
    why = f'classes like {facts.side!r} may differ in their side; True if not'
  yield 'data.flip', not facts.side, why
  jitter = 0.0 if flow else 0.3
  yield 'data.color_jitter', jitter, 'light and cameras differ' * bool(jitter)
  yield 'data.random_erasing', *_by_kind(config, 0.0, 0.0, 0.0)
  off = 'mixed clips did not help small networks, nor those of photographs'
  yield 'mixup', *_by_kind(config, 0.0, 0.8, 0.0, off=off)
  yield 'cutmix', *_by_kind(config, 0.0, 1.0, 0.0, off='the same')
  uneven = facts.largest > 1.5 * facts.smallest
  uneven = uneven and not (config.data.weighted or config.data.multi_label)
  why = f'classes have {facts.smallest} to {facts.largest} videos'
  yield 'data.balanced', uneven, why * uneven


def _of_steps(config, facts) -> Iterator[Choice]:
  usual, _ = _by_kind(config, 24, 16, 16)
  batch = int(np.clip(facts.train // LEAST_STEPS, 4, usual))
  batch = max(batch // facts.devices, 1) * facts.devices
  yield 'batch_size', batch, f'{facts.train / batch:.0f} steps an epoch'
  small, scratch, pretrained = EPOCHS
  small = small if config.model.pretrained else scratch
  clips, least, most = _by_kind(config, small, scratch, pretrained)[0]
  epochs = float(np.clip(round(clips / facts.train), least, most))
  yield 'epochs', epochs, f'{least} to {most}, more for fewer videos'
  tenth = round(max(config.epochs, 0.0) / 10, 2)  # A flag may say -1.
  yield 'warmup_epochs', tenth or -1.0, 'a tenth of them'
  yield 'lr', *_by_kind(config, 1e-3, 5e-4, 3e-4)
  known = bool(config.model.pretrained) and _has_batch_norms(config)
  why = 'averages of what the weights know, not of few videos' * known
  yield 'batch_norm_frozen', 'all' if known else 'none', why
  frozen, _ = _by_kind(config, 0.0, 0.0, tenth)
  ours = config.model.name in models.MODELS
  # Of others no layers are known; `config.freeze` itself holds to the end.
  frozen = 0.0 if config.freeze or not ours else frozen
  yield 'freeze_epochs', frozen, 'the new head is trained alone' * bool(frozen)
  decay, _ = _by_kind(config, 1.0, 1.0, 0.8 if ours else 1.0)
  yield 'layer_decay', decay, 'early layers learn slower' * (decay < 1)
  yield 'ema', *_by_kind(config, 0.0, 0.0, 0.0)


def _of_validation(config, facts) -> Iterator[Choice]:
  # The videos are opened with it, before they are counted: it is always this.
  why = f'{facts.val} videos to validate on' * bool(facts.val)
  yield 'data.val_holdout', VAL_SHARE, why
  every = max(1.0, float(config.epochs // 50))
  yield 'eval_every', every, 'epochs' * bool(facts.val)
  yield 'refit', *_refit(config, facts)
  if config.refit:
    yield 'test_checkpoint', 'last', 'after the refit'
  elif facts.val >= LEAST_VAL:
    yield 'test_checkpoint', 'best', 'of the validation'
  else:
    why = f'{facts.val} validation videos cannot tell the best'
    yield 'test_checkpoint', 'last', why
  why = 'no early end: it would skip the epochs of a small learning rate'
  yield 'patience', 0.0, why * bool(facts.val)
  yield 'save_every', every, 'epochs'
  order = not config.data.multi_label
  why = 'what the order of frames brings, after the test'
  yield 'order_report', order, why * order


def _refit(config, facts) -> tuple[bool, str]:
  """Returns whether a run ends with a training on all videos, and the reason.

  A flag that a refit cannot follow turns it off.
  """
  off = config.test_checkpoint == 'best' or config.patience
  off = off or config.data.weighted or config.data.multi_label
  if off or not (facts.val and facts.test):
    return False, ''
  return True, 'half as many epochs follow, on the validation videos too'


def _channels(config) -> tuple[str, str]:
  """Returns motion for a small network from random weights.

  Frames one by one, and flow, have none.
  """
  frames = config.clip_model == 'flatten' and config.data.num_frames > 1
  scratch = config.model.name in SMALL_MODELS and not config.model.pretrained
  if not scratch or not frames or 'flow' in config.data.input:
    return '', ''  # As the weights were trained.
  return 'motion', 'gray and changes, since colors are learned by heart; or rgb'


def _sampling(config) -> tuple[str, str]:
  """Returns the rule of frames: the model's if it compares neighbors."""
  own = models.input_spec(config.model.name).sampling
  if own in rules.RULES and rules.RULES[own].run > 1:
    return own, 'neighboring frames, which the model compares'
  return 'even', 'the whole video, however long it is'


def _crop(config, facts) -> tuple[int, str]:
  """Returns the side of a frame: the nearest that the model takes."""
  # A multiple of 32 in all, as 3 x 32 and 4 x 32, 3 x 128 and 4 x 112.
  square = not preprocess.takes_clips(config)
  side = 112 if square and config.data.num_frames % 16 == 0 else 128
  side = 64 if facts.on_cpu else side
  side, why = _by_kind(config, 32, side, side, 'px, for {}')
  sides = clip_rules.fitting_sides(config, side)
  return min(sides, key=lambda n: abs(n - side), default=side), why


def _of_motions(config) -> str:
  """Returns the weights of motions that fit the channels; '' if none do."""
  if config.clip_model != 'flatten':
    return ''  # Frames one by one have no motion.
  return {'rgb': MOTIONS_RGB, 'bgr': ''}.get(config.channels, MOTIONS)


def _options(config) -> dict[str, Any]:
  """Returns the options of the network."""
  options = config.model.to_dict()
  return {k: v for k, v in options.items() if k not in ('name', 'pretrained')}


def _has_batch_norms(config) -> bool:
  """Returns whether a model has batch norms, those of this package."""
  name = config.model.name
  if name not in models.MODELS:
    return False
  build = functools.partial(models.create_model, name, 1, **_options(config))
  return batch_norm.are_ours(nnx.eval_shape(build))


def _num_frames(config, facts) -> tuple[int, str]:
  """Returns the frames of a clip: fewer where most videos are shorter."""
  if config.clip_model == 'one_frame':
    return 1, 'for one_frame'
  if config.grid:
    return int(np.prod(config.grid)), 'one for each place of the grid'
  spec = models.input_spec(config.model.name)
  if spec.num_frames == 1 or spec.sampling == config.data.sampling:
    return spec.num_frames, 'as the model takes them'
  if models.takes_clips(config.model.name):
    return 16, 'as usual for models of clips'
  if config.flatten == 'nested':
    return 16, 'the fewest that nested takes'
  squares, median = [16, 9, 4], np.median(facts.lengths or 16)
  if facts.on_cpu or config.model.name in SMALL_MODELS:
    squares = [9, 4]
  frames = next((n for n in squares if n <= median), squares[-1])
  if frames == squares[0]:
    return frames, 'a square grid'
  return frames, f'a square grid; half of the videos have {median:g} or fewer'


def _by_kind(config, small, scratch, pretrained, why='for {}', off=''):
  """Returns the value for the kind of model, and the reason.

  Args:
    config: with the model and its initial weights.
    small: for a very small model.
    scratch: for random weights.
    pretrained: for pretrained weights.
    why: the reason, '{}' for the kind.
    off: the reason of a value of 0.
  """
  value, kind = scratch, 'a start from random weights'
  if config.model.name in SMALL_MODELS:
    value, kind = small, 'a very small model'
  elif config.model.pretrained:
    value, kind = pretrained, 'pretrained weights'
  return value, why.format(kind) if value else off


@functools.cache
def _weights(name: str) -> str:
  """Returns the name of weights of a model that are on this machine, or ''."""
  entry = models.MODELS.get(name)
  for weights, published in entry.weights.items() if entry else ():
    if published.url.startswith(('package:', 'file:')):
      with contextlib.suppress(OSError):
        download.fetch(published.url)
        return weights
  return ''
