# SPDX-License-Identifier: Apache-2.0
"""The default of every config key, and helpers for config files.

A config file starts from `base()` and changes what its experiment changes:

    from flatten_jax.runtime.configuration import default_config as defaults

    def get_config(arg=''):
      config = defaults.base()
      config.model.name = 'uniformer_s'
      return config
"""

from typing import Any

import ml_collections
from ml_collections import config_dict

from flatten_jax.text import did_you_mean


def parse(arg: str, **defaults) -> ml_collections.ConfigDict:
  """Parses the arguments of `--config=file.py:frames=9,flatten=nested`.

  Each value is converted to the type of its default.

  Raises:
    ValueError: the config does not take that argument, or the value has the
      wrong type.
  """
  values = dict(defaults)
  for item in filter(None, arg.split(',')):
    name, _, text = item.partition('=')
    if name not in defaults:
      raise ValueError(
        f'{name!r} is not an argument of this config.'
        f'{did_you_mean(name, defaults)} It takes: '
        + ', '.join(f'{key}={value}' for key, value in defaults.items())
      )
    kind = type(defaults[name])
    try:
      if kind is bool:  # bool('False') is True.
        values[name] = bool(('False', 'True').index(text))
      else:
        values[name] = kind(text)
    except ValueError:
      words = {bool: 'True or False', int: 'a whole number', float: 'a number'}
      raise ValueError(
        f'{name} must be {words.get(kind, kind.__name__)}; got {text!r}. '
        f'Write e.g. {name}={defaults[name]}.'
      ) from None
  return ml_collections.ConfigDict(values)


def by_frames(arg: ml_collections.ConfigDict, values: dict) -> float | int:
  """Returns the value of a table row of the paper, by its number of frames.

  Raises:
    ValueError: the paper has no row for `arg.frames`.
  """
  if arg.frames not in values:
    raise ValueError(
      f'The paper has rows of {" and ".join(map(str, values))} frames, not of '
      f'{arg.frames}. For another number set --config.data.num_frames (and '
      'batch_size, lr) of one of them.'
    )
  return values[arg.frames]


def by_word(arg: ml_collections.ConfigDict, name: str, values: dict) -> Any:
  """Returns the value of an argument that is one of a few words.

  Raises:
    ValueError: `arg` has another word.
  """
  if arg[name] not in values:
    raise ValueError(
      f'{name} must be {" or ".join(values)}; got {arg[name]!r}.'
      f'{did_you_mean(arg[name], values)}'
    )
  return values[arg[name]]


def base() -> ml_collections.ConfigDict:
  """Returns a config with every key. Durations are in epochs.

  Keys marked "the model's" are filled from the input spec of the model, or of
  its pretrained weights, when the config is resolved (`config.py`).
  """
  config = ml_collections.ConfigDict()
  config.seed = 0
  # 'few_videos' chooses, by the videos and the device, the values that a config
  # leaves open (None), see `flatten_jax/runtime/configuration/few_videos.py`.
  # '': none is open.
  config.recipe = ''

  # An image model classifies the frames of a clip as one image, 'flatten'; by
  # the mean of their logits, 'average'; or 'one_frame', which sets
  # `data.num_frames` to 1.
  config.clip_model = 'flatten'
  # Layout: 'row_major', 'nested', 'random', or 'my_module:my_function'.
  config.flatten = 'row_major'
  # (rows, columns) for a number of frames that is not a square, e.g. (2, 4).
  config.grid = ()

  config.model = ml_collections.ConfigDict()
  config.model.name = 'uniformer_xxs'
  config.model.drop_path_rate = 0.0
  config.model.dtype = 'float32'  # Or 'bfloat16'; parameters stay float32.
  config.model.remat = False  # True: less memory, up to a third more time.
  # Published weights ('imagenet1k'), a PyTorch file or URL, the workdir of an
  # earlier run, or a pushed model: its folder or 'hf://user/name'. A head for
  # other classes is initialized.
  config.model.pretrained = ''

  config.data = data()
  # Normalization of pixels in [0, 1]; () uses the weights' or the model's.
  config.mean = ()
  config.std = ()
  # 'rgb', 'bgr' as OpenCV reads, or 'motion': gray values, their difference
  # from the clip's mean, and to the next frame. '' is the model's.
  config.channels = ''
  # For 'motion': the share of training clips that show only the gray values,
  # and the share that show only the two others, so that both are learned.
  config.channel_dropout = 0.0

  # Defaults are UniFormer's where the paper does not give a value.
  config.optimizer = 'adamw'  # Or 'sgd', whose weight decay is not decoupled.
  config.batch_size = 64  # Videos per step, each `data.repeated_aug` clips.
  config.grad_accum_steps = 1  # Splits a batch to save memory.
  config.epochs = 110.0  # -1: chosen from the number of videos.
  config.warmup_epochs = 10.0  # -1: a tenth of `epochs`.
  # Then trains on, from the best checkpoint and for half as many epochs, on the
  # videos of the validation as well; the mean of both weights is tested.
  config.refit = False
  config.lr = 1e-4
  # 'cosine' from the end of the warmup to `min_lr`; 'cosine_by_epoch', which
  # begins at the start and moves once an epoch; 'cosine_from_start', which the
  # warmup meets; or 'steps'. See training/schedules.py.
  config.schedule = 'cosine'
  config.lr_steps = ()  # For 'steps': the epochs that begin with a step,
  config.lr_step_factor = 0.1  # which multiplies the learning rate.
  config.warmup_lr = 1e-6
  config.min_lr = 1e-6
  config.weight_decay = 0.05
  config.decay_all = False  # True: also norms, biases and other vectors.
  # Groups of parameters: (text, factor of the learning rate, factor of weight
  # decay). The longest text that a parameter's name contains decides alone.
  config.param_groups = ()
  config.beta1 = 0.9
  config.beta2 = 0.999
  config.adam_eps = 1e-8
  config.momentum = 0.9  # Of SGD.
  config.nesterov = False
  config.grad_clip_norm = 20.0  # 0 disables clipping.
  # Parts of a batch whose gradients are clipped each by itself, then averaged.
  # 0: the number of devices at the first start, which is kept on resume.
  config.grad_clip_groups = 1
  # Part that is not trained: 'backbone', all but the head, or 'stage2', the
  # stem and the stages up to and including the second; '' is none. Batch norms
  # of that part keep their statistics.
  config.freeze = ''
  # Epochs at the start for which `freeze`, or the backbone, is not trained; the
  # schedule counts them. 0: with `freeze`, all of the run.
  config.freeze_epochs = 0.0
  config.layer_decay = 1.0  # Learning-rate decay from the head to the stem.
  # Decay of the averaged weights to evaluate, at most (1 + step) / (10 + step),
  # so that it suits short runs too; 0: no average.
  config.ema = 0.0
  config.label_smoothing = 0.1
  config.mixup = 0.8  # alpha; 0 disables mixup.
  config.cutmix = 1.0  # alpha; 0 disables CutMix.
  config.mix_stage = 'before_flatten'  # Mix clips; or 'after_flatten', images.
  # 'neighbors' in the batch are mixed, which are on one device; or 'reversed',
  # the first with the last. '': what a resumed run does, else neighbors.
  config.mix_partners = ''

  # Batch statistics in training: 'global', over the whole batch on any number
  # of devices, or 'per_device', as most PyTorch code computes them.
  config.batch_norm = 'global'
  # Groups that a batch is split into for the statistics. 0: the number of
  # devices at the first start, which is kept on resume.
  config.batch_norm_groups = 0
  # Batch norms that keep their statistics and weights: 'none', 'all', or
  # 'all_but_first'.
  config.batch_norm_frozen = 'none'
  # Training batches from which statistics are computed before evaluation; 0:
  # evaluation uses the running averages of training.
  config.precise_batch_norm = 0

  # Frame order in evaluation: 'forward', 'reversed' or 'shuffled'.
  config.eval_frame_order = 'forward'
  # Average over the views of a video: 'logits' or 'probs'; '' is the model's.
  config.eval_average = ''
  # Views per device and step. Scores depend on neither the batch size nor the
  # number of devices; their last bits may depend on this.
  config.eval_views = 8

  # These may change when a run is resumed.
  config.log_every = 50  # steps, in metrics.jsonl; log lines come by time.
  # Where metrics go besides metrics.jsonl: 'tensorboard', 'csv', 'wandb',
  # 'mlflow', or 'my_module:my_class', see docs/loggers.md.
  config.loggers = ('tensorboard',)
  config.eval_every = 1.0  # epochs; 0: at the end only
  config.save_every = 1.0  # epochs
  config.keep_last = 2  # Checkpoints kept besides the best.
  # Makes a validation the best: the highest 'top1', 'top5' or 'mean_class'
  # accuracy, of equal ones the lower loss; or the lowest 'loss'. 'map', the
  # mean average precision, takes the place of 'top1' with `data.multi_label`.
  config.save_best_by = 'top1'
  # Epochs without a better validation after which training ends; 0: none.
  config.patience = 0.0
  config.test_checkpoint = 'last'  # Or 'best', by validation.
  # After the test: a table of what the order of frames brings, against random
  # order, the mean of frames, one frame, and answers without pictures.
  config.order_report = False
  # Folder of compiled programs. 'auto': $JAX_COMPILATION_CACHE_DIR, or else one
  # in ~/.cache/flatten_jax. '': none but JAX's own.
  config.compile_cache = 'auto'

  # Devices; may change when a run is resumed. The batch is divided over `data`
  # devices (-1: all that remain) and weights over `model` devices.
  config.mesh = ml_collections.ConfigDict()
  config.mesh.data = -1
  config.mesh.model = 1
  # Parameters and optimizer state: 'replicated', divided over data ('fsdp'),
  # attention and MLP weights divided over model ('tensor'), 'fsdp+tensor'.
  config.sharding = 'replicated'
  config.fsdp_min_size = 2**14  # Smaller arrays stay replicated.
  # One process per host. The address of the coordinator comes from the cluster
  # (Slurm, Open MPI, TPU pods, Kubernetes), or from these four.
  config.distributed = False
  config.coordinator = ''  # 'host:port'
  config.num_processes = 0
  config.process_id = -1
  config.join_timeout = 300  # seconds
  return config


def data() -> ml_collections.ConfigDict:
  """Returns `config.data`: where the videos are and how clips are made."""
  data = ml_collections.ConfigDict()
  # A set made by `python -m data.prepare`, a folder of class folders, a folder
  # with train/ val/ test/ folders of those or with train/val/test lists, or a
  # list. A video is a file, or a folder or zip file of frames.
  data.root = ''
  # Or one list per split (any published form), with paths relative to the
  # list, or to `prefix`.
  data.train = ''
  data.val = ''
  data.test = ''
  data.prefix = ''
  # Or the embedded set with this many training clips, which is made on first
  # use in `root` or ~/.cache/flatten_jax. 0: not used.
  data.motion_clips = 0
  # Its motions: the 'twelve' of the quickstart, 'many' to pretrain on, 119, or
  # 'several' in a video, of ten, for `multi_label`.
  data.motions = 'twelve'
  data.class_names = ''  # A file with the names of numbered classes.
  # Videos may have several labels, 'run;jump' in the list, or none: sigmoid and
  # binary cross-entropy, mAP, and a threshold for each class.
  data.multi_label = False
  # The fold that is tested. Folds come from the `fold` column of the list, or
  # `folds` of them are drawn, of groups or of each class. -1: the first of the
  # column; without one a share `holdout` is tested, drawn in the same way. For
  # a prepared HMDB51 or UCF101: 0, 1, 2 are its published splits.
  data.fold = -1
  data.folds = 4
  # Or a folder with HMDB51's <class>_test_split{1,2,3}.txt or UCF101's
  # trainlist0{1,2,3}.txt and testlist0{1,2,3}.txt; `fold` selects one.
  data.split_dir = ''
  data.holdout = 0.2  # Test share where videos have no splits and no folds.
  data.val_holdout = 0.0  # Share of the training videos held back as 'val'.
  # Column of a list whose videos stay together when splits are drawn. '': a
  # column group, subject, scene or the like, if there is one; groups in names
  # as of UCF101, and parts of one file. 'none': each video is by itself, and
  # without `fold` a column of folds is not used either.
  data.group = ''
  # Train on videos of each class equally often; an epoch has as many clips.
  data.balanced = False
  # Or draw each in proportion to the column `weight` of the list.
  data.weighted = False

  # Images in class folders to train on besides the videos, as clips of one
  # frame, in this share of the steps.
  data.images = ''
  data.image_share = 0.5
  data.image_crop = 0  # px; 0: as `crop`.

  # 0 and '' are the model's.
  data.num_frames = 0
  # 'dense': `stride` apart; 'segment', 'even': the whole video; or a system's
  # published rule, see `inputs/sampling/rules.py`.
  data.sampling = ''
  data.stride = 0
  # Range of the share of a video that a training clip is drawn from, as if it
  # were the whole. Rules that spread a clip over it see other speeds too.
  data.time_crop = (1.0, 1.0)
  # Frames of a test view, for models that take clips; 0: the model's, or
  # `num_frames`, as those of validation have.
  data.test_frames = 0
  # 'rgb', 'flow', or 'rgb+flow'; '' is the model's. Optical flow is that of
  # `python -m data.prepare --flow`, or computed while reading, slowly.
  data.input = ''
  data.flow_method = 'dis'  # Or 'farneback', or 'tvl1'.
  data.flow_frames = 0  # Flow fields of one input frame; 0: the model's, or 10.
  data.repeat_frame = False  # Control: one frame, num_frames times.

  # (height, width) that frames get first, whatever their aspect; () keeps it.
  data.resize = ()
  data.short_side = 0  # px, resized while decoding; 0 keeps the video's size.
  data.crop = 0  # px, side of a frame as the model sees it; 0: the model's.
  data.test_crop = 0  # px, side of a test crop; 0: the model's, or `crop`.
  data.test_short_side = 0  # px, of test views; 0: the model's, or `crop`.
  # A random crop of training: 'area' draws its share of the frame and its
  # aspect; 'scale' scales the frame by a factor first, 'inverse_scale' by one
  # over a factor, 'scale_each_axis' height and width by one each;
  # 'multi_scale' takes sizes and places from a short list.
  data.crop_method = 'area'
  data.crop_scale = (1.0, 1.25)  # Range of that factor.
  data.crop_sizes = (0.66, 0.75, 0.875, 1.0)  # Shares of the short side.
  data.crop_positions = 13  # Or 5: the corners and the center.
  data.crop_area = (0.08, 1.0)  # Range of the random crop's share of the frame.
  data.crop_aspect = (3 / 4, 4 / 3)  # Range of its width / height.
  data.rotation = 0.0  # Degrees at most, in both directions.
  data.flip = True  # Set False where left and right are the label.
  # Pairs of class names that a flip exchanges, and classes never flipped.
  data.flip_pairs = ()
  data.flip_except = ()
  data.color_jitter = 0.0
  data.color_jitter_share = 1.0  # Of the clips.
  data.grayscale_share = 0.0  # Of the clips, made grey.
  data.randaugment = ''  # E.g. 'rand-m7-n4-mstd0.5-inc1'; '' disables it.
  data.random_erasing = 0.0  # Probability.
  data.erasing_fill = 'noise'  # Or 'mean', which is 0 after normalization.
  data.repeated_aug = 1  # Clips of each video in a batch.

  # Test views: '3x10' is crops x clips, '224x16x3x10' resolution x frames x
  # crops x clips. '' uses the next two; 0 is the model's.
  data.views = ''
  data.num_clips = 0
  data.num_crops = 0
  data.val_clips = 1
  data.val_crops = 1

  # Memory per process for decoded frames of `short_side`, so that a small data
  # set is decoded once. 0 disables it. A video that would take more than a
  # sixteenth of it is read clip by clip.
  data.frame_cache_gib = 0.0
  # The file that --mode=index writes; '': one in ~/.cache/flatten_jax/index.
  data.index = ''
  # Seconds before a video is given up; 0: no limit.
  data.time_limit = 60.0
  data.workers = 0  # Processes; 0: threads of this process.
  data.threads = 4
  return data


def compare() -> ml_collections.ConfigDict:
  """Returns `config.compare`, a group that only --mode=compare reads."""
  section = ml_collections.ConfigDict()
  # (name, changes of the config by dotted key) of each system. One that has the
  # name of a model takes that model.
  section.systems = ()
  # What all systems spend as much of in training: 'clips', 'gflops' (multiply-
  # adds), or 'minutes'. The first system trains for `epochs`, the others for as
  # many as that allows.
  section.budget = 'clips'
  # The rates that each system tries, on videos held back from training. One:
  # it is taken as it is.
  section.learning_rates = (3e-4, 1e-3, 3e-3)
  section.trial = 0.25  # Share of its epochs for which a system tries a rate.
  return section


def leave_open(config: ml_collections.ConfigDict, *keys: str) -> None:
  """Leaves keys open (None), in place; flags still give them values.

  Args:
    config: whose `recipe` chooses the values, see `few_videos.py`.
    keys: dotted.
  """
  for key in keys:
    group, _, name = key.rpartition('.')
    section = config[group] if group else config
    kind = type(section[name])
    with section.ignore_type():
      section[name] = config_dict.placeholder(kind)


def augment(config: ml_collections.ConfigDict, randaugment: str) -> None:
  """Sets the augmentation that UniFormer's runs share; RandAugment differs."""
  config.data.randaugment = randaugment
  config.data.random_erasing = 0.25
  config.data.repeated_aug = 2


def plain(config: ml_collections.ConfigDict) -> None:
  """Turns off what UniFormer's recipe has and many recipes do not.

  Warmup, mixing, label smoothing, clipping, and the ends of the schedule.
  """
  config.warmup_epochs = config.warmup_lr = config.min_lr = 0.0
  config.mixup = config.cutmix = config.label_smoothing = 0.0
  config.grad_clip_norm = 0.0


def steps(config: ml_collections.ConfigDict, *epochs: float) -> None:
  """Sets SGD that divides the learning rate by ten at the given epochs.

  Weight decay acts on every parameter.
  """
  config.optimizer = 'sgd'
  config.schedule = 'steps'
  config.lr_steps = epochs
  config.decay_all = True


def pyslowfast(config: ml_collections.ConfigDict) -> None:
  """Sets what PySlowFast's recipes of convolutional networks share.

  SGD, crops, batch norms over 8 clips, whose statistics are computed before
  each evaluation; and, for 8 devices, the schedule of Kinetics from scratch.
  """
  plain(config)
  config.optimizer = 'sgd'
  config.nesterov = True
  config.weight_decay = 1e-4
  config.decay_all = True
  config.param_groups = (('norm', 1.0, 0.0),)
  config.batch_size = 64  # 1024 in their paper, with a rate of 1.6.
  config.lr = 0.1
  config.schedule = 'cosine_from_start'
  config.epochs = 196.0
  config.warmup_epochs = 34.0
  config.warmup_lr = 0.01
  config.batch_norm = 'per_device'
  config.batch_norm_groups = 8
  config.precise_batch_norm = 200
  config.eval_every = 10.0
  config.data.short_side = 320
  config.data.crop_method = 'scale'
  config.data.crop_scale = (0.8, 1.0)  # Of 320: short sides of 256 to 320 px.


def multi_scale(config: ml_collections.ConfigDict, *epochs: float) -> None:
  """Sets what the recipes of TSN and its descendants share.

  Crops of a few sizes, SGD in steps at the given epochs, and no warmup.
  """
  plain(config)
  steps(config, *epochs)
  config.data.crop_method = 'multi_scale'
