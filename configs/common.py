# SPDX-License-Identifier: Apache-2.0
"""What all configs share: the values that never change, or rarely."""

import ml_collections

# Of pixels in [0, 1]: what image checkpoints were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def parse(arg: str, **defaults) -> ml_collections.ConfigDict:
  """Reads the arguments of `--config=file.py:frames=9,flatten=nested`.

  Each value is converted to the type of its default.

  Raises:
    ValueError: a name that the config does not have, or a value of the wrong
      type.
  """
  values = dict(defaults)
  for item in filter(None, arg.split(',')):
    name, _, text = item.partition('=')
    if name not in defaults:
      raise ValueError(
        f'{name!r} is no argument of this config. It takes: '
        + ', '.join(f'{key}={value}' for key, value in defaults.items())
      )
    try:
      values[name] = type(defaults[name])(text)
    except ValueError:
      kind = type(defaults[name]).__name__
      raise ValueError(f'{name} takes a {kind}, not {text!r}.') from None
  return ml_collections.ConfigDict(values)


def by_frames(arg: ml_collections.ConfigDict, values: dict) -> float | int:
  """What a row of the paper's tables has for its number of frames.

  Raises:
    ValueError: the paper has no row of so many frames.
  """
  if arg.frames not in values:
    raise ValueError(
      f'The paper has rows of {" and ".join(map(str, values))} frames, not of '
      f'{arg.frames}. For another number set --config.data.num_frames (and '
      'batch_size, lr) of one of them.'
    )
  return values[arg.frames]


def base() -> ml_collections.ConfigDict:
  """A run's config with every key that there is. Durations are in epochs."""
  config = ml_collections.ConfigDict()
  config.seed = 0

  # The layout: row_major, nested, random, or 'my_module:my_function' for one of
  # your own; grid = (rows, columns) where the number of frames is no square,
  # e.g. (2, 4) for 8.
  config.flatten = 'row_major'
  config.grid = ()

  config.model = ml_collections.ConfigDict()
  config.model.name = 'uniformer_xxs'
  config.model.drop_path_rate = 0.0
  config.model.dtype = 'float32'  # Or 'bfloat16'; parameters stay float32.
  config.model.remat = False  # True: less memory, up to a third more time.
  # A workdir of ours or a PyTorch file; a head of other classes starts anew.
  config.model.pretrained = ''

  config.data = data()
  # Of the pixels, in [0, 1]. Image checkpoints expect ImageNet's, see above.
  config.mean = (0.45, 0.45, 0.45)
  config.std = (0.225, 0.225, 0.225)

  # AdamW, and UniFormer's released runs where the paper is silent.
  config.batch_size = 64  # Videos per step; each gives `data.repeated` clips.
  config.accumulate = 1  # Parts of a batch, one after the other: saves memory.
  config.epochs = 110.0  # 0: by the number of videos.
  config.warmup_epochs = 10.0  # -1: a tenth of them.
  config.lr = 1e-4
  config.lr_start = 1e-6
  config.lr_end = 1e-6
  config.weight_decay = 0.05
  config.beta1 = 0.9
  config.beta2 = 0.999
  config.adam_eps = 1e-8
  config.clip_norm = 20.0  # 0 turns it off.
  config.layer_decay = 1.0  # Of the learning rate, from the head to the stem.
  config.ema = 0.0  # Decay of averaged weights, to evaluate with; 0: none.
  config.label_smoothing = 0.1
  config.mixup = 0.8  # alpha; 0 turns it off.
  config.cutmix = 1.0
  config.mix = 'clips'  # What is mixed: clips, then laid out, or 'mosaics'.

  # Statistics of batch norms in training: 'global', of the whole batch however
  # many devices share it, or 'per_device', of each one's clips, as most do.
  config.batch_norm = 'global'
  # What decides the numbers: into how many groups a batch is divided. 0: as
  # many as share it when the run starts, to go on with on any number of them.
  config.batch_norm_groups = 0

  # Of the tests: 'reversed' and 'shuffled' ask what a model makes of time.
  config.playback = 'forward'
  # Views that a device scores at a time. Scores depend on neither batch_size
  # nor the number of devices; on this, their last bits may.
  config.eval_views = 8

  # Housekeeping. These may change when a run goes on.
  config.log_every = 50  # steps
  config.eval_every = 1.0  # epochs; 0: at the end only.
  config.save_every = 1.0  # epochs
  config.keep_last = 2  # checkpoints, beside the best one.
  config.test_checkpoint = 'last'  # or 'best', by validation top-1.
  config.compile_cache = '~/.cache/flatten_jax/xla'  # '' turns it off.

  # Where it runs; may change when it goes on. The mesh has all devices: a batch
  # is divided over `data` of them (-1: all that are left), and weights over
  # `model` where `sharding` says so. Parameters and what the optimizer keeps
  # are on all devices ('replicated'), or divided over data ('fsdp'; arrays of
  # `fsdp_min_size` numbers or more), or those of attention and MLPs over model
  # ('tensor'), or over both ('fsdp+tensor').
  config.mesh = ml_collections.ConfigDict()
  config.mesh.data = -1
  config.mesh.model = 1
  config.sharding = 'replicated'
  config.fsdp_min_size = 2**14
  # One process for each host. The cluster's environment says where they meet,
  # or else coordinator = 'host:port', the number of processes, and which this
  # one is. It waits so many seconds for the others.
  config.distributed = False
  config.coordinator = ''
  config.num_processes = 0
  config.process_id = -1
  config.join_timeout = 300
  return config


def data() -> ml_collections.ConfigDict:
  """Where the videos are and how clips are made of them."""
  data = ml_collections.ConfigDict()
  # A set that `python -m data.prepare` made, a folder of class folders, one of
  # train/ val/ test/ folders of those, one that holds train/val/test lists, or
  # a list itself.
  data.root = ''
  # Or a list for each split (any published form), with paths relative to the
  # list, or to `prefix`.
  data.train = ''
  data.val = ''
  data.test = ''
  data.prefix = ''
  # Or the embedded set, with so many training clips; it is made on first use,
  # in `root` or else in ~/.cache/flatten_jax. 0: it is not used.
  data.motion_clips = 0
  data.class_names = ''  # A file that gives numbered classes their names.
  # >= 0: cross-validation. Videos of this fold are the test set; folds come
  # from the list's `fold` column, or are drawn, `folds` of them, by class. Of a
  # prepared HMDB51: 0, 1, 2 for its first, second, third published division.
  data.fold = -1
  data.folds = 4
  # Or a folder with HMDB51's <class>_test_split{1,2,3}.txt: `fold` chooses one.
  data.divisions = ''
  data.holdout = 0.2  # Share for the test where there are class folders only.

  # Still images to train on beside the videos, in class folders: so large a
  # share of the steps, each image as a clip of one frame of so many pixels.
  data.images = ''
  data.image_share = 0.5
  data.image_crop = 0  # px; 0: as `crop`.

  data.num_frames = 16
  data.sampling = 'dense'  # `stride` apart, or 'segment': over the whole video.
  data.stride = 4
  data.repeat_frame = False  # The control: one frame, num_frames times.

  data.short_side = 0  # px, scaled while decoding; 0 keeps the video's size.
  data.crop = 224  # px, the side of a frame as the model sees it.
  data.area = (0.08, 1.0)  # Of the random crop, as a share of the frame.
  data.aspect = (3 / 4, 4 / 3)
  data.flip = True  # Not where left and right are the label.
  data.color_jitter = 0.0
  data.randaugment = ''  # E.g. 'rand-m7-n4-mstd0.5-inc1'; '' turns it off.
  data.erase = 0.0  # Probability of random erasing.
  data.repeated = 1  # Clips of each video in a batch.

  # Test views in any published notation: '3x10' is crops x clips, '224x16x3x10'
  # resolution x frames x crops x clips, 'v-jepa:16x2x3' another's order. Empty:
  data.views = ''
  data.num_clips = 1  # so many along time,
  data.num_crops = 1  # and so many across the frame.
  data.val_clips = 1
  data.val_crops = 1

  # Memory of each process for decoded frames of `short_side`: a small data set
  # is decoded once rather than in every epoch. 0 turns it off. A video that
  # would take more than a sixteenth of it is read clip by clip.
  data.cache_gib = 0.0
  # What --mode=index writes, to save looking through files; '' is a file in
  # ~/.cache/flatten_jax/index that goes by the places above.
  data.index = ''
  # Seconds that a video may take, and is given up after; 0: for ever. Clips are
  # the same on every machine only as long as none is given up.
  data.time_limit = 60.0
  data.workers = 0  # Processes; 0: threads of this one.
  data.threads = 4
  return data


def augment(config: ml_collections.ConfigDict, randaugment: str) -> None:
  """Turns on what all of UniFormer's runs have; RandAugment differs by run."""
  config.data.randaugment = randaugment
  config.data.erase = 0.25
  config.data.repeated = 2
