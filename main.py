# SPDX-License-Identifier: Apache-2.0
"""Does what a config describes. The substance is in flatten_jax."""

import json
import pathlib
import sys

from absl import app, flags
from ml_collections import config_flags

import flatten_jax as fj
from flatten_jax import command_line
from flatten_jax.runtime import gcs_workdir

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'What to run; a file in configs/.', lock_config=True
)
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Where checkpoints, logs and results go.'
)
_MODES = {
  'train': 'train and evaluate, going on where the workdir stopped',
  'evaluate': 'score its checkpoint again, by default as its own config says',
  'cross_validate': 'train and evaluate for every fold or published division, '
  'and give the mean',
  'evaluate_folds': 'score those runs again',
  'ablate': 'train every one of --variants with every seed, test each in other '
  'orders of its frames, and make tables and curves',
  'predict': 'name what happens in --video, by the checkpoint of the workdir',
  'explain': 'draw what it sees in --videos or in each --video: where it '
  'looks, feature maps, attention between frames',
  'curves': 'draw the training curves of every --run in one picture',
  'report': 'make a page of all that is known of a run, for a browser',
  'score': 'compute the accuracies from its predictions file alone',
  'inspect': 'draw training clips as the model will see them',
  'index': 'look at every video once and list those that cannot be read; '
  '--index_all decodes all of each',
  'export': 'write its model as StableHLO, ONNX and safetensors, and try them',
  'profile': 'train some steps, say where their time goes, and leave a trace',
  'cost': 'print what the models of the paper cost, and what a config does',
}
_MODE = flags.DEFINE_enum(
  'mode',
  'train',
  list(_MODES),
  '. '.join(f'{mode}: {does}' for mode, does in _MODES.items()),
)
_VIEWS = flags.DEFINE_string(
  'views',
  '',
  'For --mode=evaluate, evaluate_folds and predict: other test views, like '
  '3x10, crops x clips.',
)
_VIDEO = flags.DEFINE_multi_string(
  'video',
  [],
  'For --mode=predict and explain: a file, a folder, or, to predict, - for a '
  'video on stdin. May be given more than once.',
)
_VIDEOS = flags.DEFINE_list(
  'videos',
  ['6'],
  'For --mode=explain: how many videos of the test split, or the ids of some.',
)
_AGAINST = flags.DEFINE_string(
  'against', None, "For --mode=explain: another run's workdir, to compare."
)
_STAGE = flags.DEFINE_integer(
  'stage',
  None,
  'For --mode=explain: the stage whose heat is drawn, 1 to 4; by default the '
  'last that is fine enough to see things in a frame.',
)
_RUN = flags.DEFINE_multi_string(
  'run',
  [],
  "For --mode=curves: a run's workdir, or a folder of several, whose mean is "
  'drawn as well. Give it once for each curve.',
)
_OUT = flags.DEFINE_string(
  'out',
  None,
  'For --mode=predict and export: where files go; workdir/predictions, '
  'workdir/export.',
)
_TIMELINE = flags.DEFINE_bool(
  'timeline', False, 'For --mode=predict: also the class by second.'
)
_EVERY = flags.DEFINE_float(
  'every', 1.0, 'For --timeline: seconds from one row to the next.'
)
_WINDOW = flags.DEFINE_float(
  'window',
  0.0,
  'For --timeline: seconds that the model sees for a row; 0: as many as in '
  'training, or 4 where it was trained on whole videos.',
)
_SEEDS = flags.DEFINE_integer(
  'seeds',
  1,
  'For --mode=cross_validate and ablate: runs of each fold or variant.',
  lower_bound=1,
)
_VARIANTS = flags.DEFINE_list(
  'variants',
  ['row_major', 'nested', 'random', '3d', 'one_frame'],
  'For --mode=ablate: which of these.',
)
_FOLDS = flags.DEFINE_bool(
  'folds', False, 'For --mode=ablate: all folds of the data, for each seed.'
)
_INDEX_ALL = flags.DEFINE_bool(
  'index_all', False, 'For --mode=index: decode all of every video.'
)
_FORMATS = flags.DEFINE_list(
  'formats',
  [],
  'For --mode=export: some of stablehlo, safetensors, onnx; all that can be '
  'written by default.',
)
NEED_CONFIG = (
  'train',
  'cross_validate',
  'ablate',
  'inspect',
  'index',
  'profile',
)
# Which modes read a flag; in another it would be given in vain.
MODES_OF = {
  'config': (*NEED_CONFIG, 'evaluate', 'evaluate_folds', 'explain', 'cost'),
  'views': ('evaluate', 'evaluate_folds', 'predict'),
  'video': ('predict', 'explain'),
  'videos': ('explain',),
  'against': ('explain',),
  'stage': ('explain',),
  'run': ('curves',),
  'out': ('predict', 'export'),
  'timeline': ('predict',),
  'every': ('predict',),
  'window': ('predict',),
  'seeds': ('cross_validate', 'ablate'),
  'variants': ('ablate',),
  'folds': ('ablate',),
  'index_all': ('index',),
  'formats': ('export',),
}


def main(argv):
  """Runs one mode; whatever fails raises, so that 0 means done."""
  if len(argv) > 1:
    raise app.UsageError(f'Did not understand {argv[1:]}.')
  mode, config, workdir = _MODE.value, _CONFIG.value, _WORKDIR.value
  check_flags(mode, {name for name in MODES_OF if flags.FLAGS[name].present})
  if config is None and mode in NEED_CONFIG:
    raise app.UsageError(f'--mode={mode} needs --config=configs/....py')
  if workdir is None and mode != 'cost':
    raise app.UsageError(f'--mode={mode} needs --workdir=FOLDER.')
  with gcs_workdir.mirrored_workdir(workdir) as folder:
    run(mode, config, folder)


def check_flags(mode, given):
  """Refuses flags, by name, that nothing would come of."""
  for name in sorted(given):
    if mode not in MODES_OF[name]:
      raise app.UsageError(
        f'--{name} is for --mode={", ".join(MODES_OF[name])}; --mode={mode} '
        'does not take it.'
      )
  for name in sorted(given & {'every', 'window'}):
    if 'timeline' not in given:
      raise app.UsageError(f'--{name} is for --timeline: give both.')
  if {'video', 'videos'} <= given:
    raise app.UsageError(
      '--video names files, --videos takes some of the data: give one of them.'
    )


def run(mode, config, workdir):
  """What a mode does."""
  if mode == 'train':
    fj.train_and_evaluate(config, workdir)
  elif mode == 'evaluate':
    fj.evaluate(config, workdir, _VIEWS.value)
  elif mode == 'cross_validate':
    fj.cross_validate(config, workdir, seeds=_SEEDS.value)
  elif mode == 'evaluate_folds':
    fj.evaluate_folds(config, workdir, _VIEWS.value)
  elif mode == 'ablate':
    fj.ablate(
      config,
      workdir,
      variants=_VARIANTS.value,
      seeds=_SEEDS.value,
      folds=_FOLDS.value,
    )
  elif mode == 'predict':
    predict(workdir)
  elif mode == 'explain':
    explain(config, workdir)
  elif mode == 'curves':
    print(fj.draw_runs(_RUN.value, workdir))
  elif mode == 'report':
    command_line.log_to_stderr()
    print(fj.report(workdir))
  elif mode == 'score':
    print(json.dumps(fj.score_workdir(workdir), indent=2))
  elif mode == 'inspect':
    fj.inspect_inputs(config, workdir)
  elif mode == 'index':
    fj.index_videos(config, workdir, full=_INDEX_ALL.value)
  elif mode == 'export':
    fj.export(workdir, _OUT.value, _FORMATS.value)
  elif mode == 'profile':
    fj.profile(config, workdir)
  elif mode == 'cost':
    print(fj.cost_table(config))


def predict(workdir):
  """Answers go to stdout, what is said of them to stderr."""
  if not _VIDEO.value:
    raise app.UsageError('--mode=predict needs --video=FILE, FOLDER or -.')
  command_line.log_to_stderr()
  fj.predict(
    workdir,
    [sys.stdin.buffer if video == '-' else video for video in _VIDEO.value],
    views=_VIEWS.value,
    timeline=_TIMELINE.value,
    every=_EVERY.value,
    window=_WINDOW.value,
    out=_OUT.value or pathlib.Path(workdir) / 'predictions',
    show=True,
  )


def explain(config, workdir):
  """Of so many videos of the data, or of these, or of files."""
  videos = _VIDEOS.value
  if len(videos) == 1 and videos[0].isdigit():
    videos = int(videos[0])
  fj.explain(
    workdir,
    config=config,
    videos=videos,
    files=_VIDEO.value,
    against=_AGAINST.value,
    stage=_STAGE.value,
  )


if __name__ == '__main__':
  # Here and not above: processes that decode video import this file too.
  import jax

  jax.config.config_with_absl()
  command_line.run(main)
