# SPDX-License-Identifier: Apache-2.0
"""The flags of the command line, with their help."""

from absl import flags
from ml_collections import config_flags

FLAGS = flags.FLAGS

config_flags.DEFINE_config_file(
  'config',
  None,
  'A config: a Python file, or the name of a file in configs/, and perhaps '
  ':arguments.',
  # Options of a model may be new; `check_options` refuses those that are wrong.
  lock_config=False,
  accept_new_attributes=True,
)
flags.DEFINE_string('mode', 'train', 'One of the modes; see --help.')
flags.DEFINE_string('workdir', None, 'Folder of checkpoints, logs and results.')
flags.DEFINE_bool(
  'debug', False, 'Shows where in the program an error was raised.'
)
flags.DEFINE_string('pattern', '', "Of names of models, e.g. 'video_swin*'.")
flags.DEFINE_string('views', '', 'Other test views, e.g. 3x10: crops x clips.')
flags.DEFINE_string(
  'split',
  '',
  'Split to evaluate: train, val or test; by default the one of the run.',
)
flags.DEFINE_list(
  'runs', [], 'Workdirs of evaluated runs, or files predictions_*.npz, to fuse.'
)
flags.DEFINE_string(
  'method',
  'probs',
  'How runs are fused: the mean of probs, or of logits; or svm, which learns '
  'from predictions of the training videos.',
)
flags.DEFINE_list(
  'weights', [], 'Weights of the fused runs, e.g. 1,1.5; equal by default.'
)
flags.DEFINE_multi_string(
  'video',
  [],
  'A video file, a folder of videos or, for --mode=predict, - for stdin. May '
  'be repeated. For --mode=stream one URL, camera, file or -.',
)
flags.DEFINE_list(
  'videos', ['6'], 'Number of test videos to explain, or ids of some.'
)
flags.DEFINE_string('against', None, 'Workdir of another run to compare with.')
flags.DEFINE_integer(
  'stage',
  None,
  'Stage whose heat is drawn, from 1; by default the last that resolves a '
  'frame.',
)
flags.DEFINE_multi_string(
  'run',
  [],
  "A run's workdir, or a folder of several, whose mean is drawn. Repeat it for "
  'each curve.',
)
flags.DEFINE_string(
  'out', None, 'Output folder; workdir/predictions or workdir/export.'
)
flags.DEFINE_bool(
  'timeline', False, 'Also classifies a window around every second.'
)
flags.DEFINE_bool(
  'annotate', False, 'Also writes each video with its answer drawn into it.'
)
flags.DEFINE_float(
  'every', 1.0, 'Seconds from one row of the timeline, or answer, to the next.'
)
flags.DEFINE_float(
  'window',
  0.0,
  'Seconds per window of the timeline or stream; 0: the length of a training '
  'clip, or 4 if the model was trained on whole videos.',
)
flags.DEFINE_bool('json', False, 'Prints a JSON object per line.')
flags.DEFINE_bool(
  'live',
  None,
  'Skips windows while the model is busy, as for a camera; --nolive waits, as '
  'for a file. By default as the source is.',
)
flags.DEFINE_float(
  'timeout',
  10.0,
  'Seconds without data after which a connection is broken; 0: no limit.',
)
flags.DEFINE_integer(
  'reconnects',
  None,
  'Attempts in a row to connect again; by default without end.',
  lower_bound=0,
)
flags.DEFINE_float(
  'time_limit',
  None,
  'Seconds before a video is given up; 0: no limit. By default '
  "config.data.time_limit of the workdir's run.",
)
flags.DEFINE_integer(
  'limit', 4096, 'Largest batch that --mode=batch_size tries.', lower_bound=1
)
flags.DEFINE_integer(
  'steps',
  100,
  'Learning rates that --mode=lr_range tries, a step for each.',
  lower_bound=10,
)
flags.DEFINE_string(
  'topology',
  '',
  'Machine that --mode=compile compiles for, e.g. v5e:4x4, h100:1x1x8, cpu:8.',
)
flags.DEFINE_bool(
  'list_topologies', False, 'Prints the machines of --mode=compile.'
)
flags.DEFINE_bool(
  'largest_batch',
  False,
  'Also finds the largest batch that fits, with and without remat.',
)
flags.DEFINE_bool(
  'machine_code', False, 'Compiles to the end, which takes much longer.'
)
flags.DEFINE_string(
  'to',
  '',
  'Where --mode=push puts a model: user/name on the Hugging Face Hub, or a '
  'folder.',
)
flags.DEFINE_string(
  'license', '', 'Of the weights, as the Hub names it, e.g. cc-by-4.0.'
)
flags.DEFINE_string('dataset', '', 'Name of the training data, for the card.')
flags.DEFINE_bool('private', False, 'Creates a repository for oneself.')
flags.DEFINE_integer(
  'seeds', 1, 'Runs of each fold, variant or system.', lower_bound=1
)
flags.DEFINE_list(
  'variants',
  ['row_major', 'nested', 'random', '3d', 'one_frame'],
  'Variants to train.',
)
flags.DEFINE_list(
  'systems', [], 'Some of config.compare.systems; by default all of them.'
)
flags.DEFINE_bool('folds', False, 'One run per fold of the data.')
flags.DEFINE_bool('index_all', False, 'Decodes every frame of every video.')
flags.DEFINE_string(
  'host',
  '127.0.0.1',
  'Address that --mode=demo listens at; 0.0.0.0 serves the network.',
)
flags.DEFINE_integer(
  'port',
  None,
  'Port of --mode=demo; by default the first free one from 7860.',
  lower_bound=1,
  upper_bound=65535,
)
flags.DEFINE_list(
  'formats',
  [],
  'Some of stablehlo, safetensors, onnx; by default all that can be written.',
)
