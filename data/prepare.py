# SPDX-License-Identifier: Apache-2.0
r"""Prepares a data set: annotations and video files become one folder.

  python -m data.prepare kinetics400 --annotations=/k400/annotations \
      --videos=/k400 --out=/prepared/kinetics400

kinetics400, something_something_v2, hmdb51, or folder for videos of one's own.
The same command goes on where it was interrupted. See data/README.md.
"""

import argparse
from collections.abc import Sequence
import os
import pathlib
import shlex
import shutil
import sys

from data import report, shards
from data.annotations import DataSet, Sources
from data.folder import DATA_SET as FOLDER
from data.hmdb51 import DATA_SET as HMDB51
from data.kinetics400 import DATA_SET as KINETICS400
from data.locate import Files
from data.media import CHECKS, Treatment
from data.plan import FINISHED, WORK, make_plan
from data.something_something_v2 import DATA_SET as SOMETHING_SOMETHING_V2

DATA_SETS = {
  data_set.name: data_set
  for data_set in (KINETICS400, SOMETHING_SOMETHING_V2, HMDB51, FOLDER)
}


def prepare(
  data_set: DataSet,
  sources: Sources,
  out: str | os.PathLike,
  *,
  treatment: Treatment = Treatment(),  # noqa: B008  It is frozen.
  shard_mib: float = 512,
  processes: int = 1,
  beam: Sequence[str] | None = None,
  progress: bool = True,
) -> str:
  """Prepares `out`, or goes on preparing it, or finds that it is done.

  Args:
    data_set: what is prepared.
    sources: its annotations and videos.
    out: a new or empty folder, or one that was interrupted.
    treatment: of the videos; the default stores their own bytes.
    shard_mib: size of the files of the set.
    processes: that work side by side.
    beam: arguments of Apache Beam, which then runs instead of processes.
    progress: whether to show bars.

  Returns:
    The report, which is in report.txt as well.

  Raises:
    FileNotFoundError: annotations, or all of the videos, are absent.
    FileExistsError: `out` holds another preparation, or something else.
    ValueError: the annotations cannot be read; file and line are named.
  """
  out = pathlib.Path(out).expanduser().absolute()
  check_there(sources)
  annotations = data_set.read(sources)
  files = Files(
    sources.videos, data_set.id_length, progress, data_set.by_folder
  )
  if not any(files.find(video) for video in annotations.videos):
    raise FileNotFoundError(
      f'Of {len(annotations.videos)} annotated videos, none is among the '
      f'{len(files)} video files below {", ".join(map(str, sources.videos))}. '
      f'The first would be called like {annotations.videos[0].name}'
    )
  shard_bytes = int(shard_mib * 2**20)
  plan = make_plan(
    data_set, annotations, files.find, treatment, out, shard_bytes, progress
  )
  if not (out / FINISHED).is_file():
    if beam is None:
      shards.make_all(str(out), processes, progress)
    else:
      from data import beam_pipeline  # The extra 'beam' need not be there.

      beam_pipeline.make_all(str(out), beam)
    if plan.todo(out):
      raise RuntimeError(f'{len(plan.todo(out))} shards of {out} were not made')
    report.finish(out, data_set)
  for leftover in out.glob('*.tmp'):  # Of runs that were killed.
    leftover.unlink()
  shutil.rmtree(out / WORK, ignore_errors=True)
  return (out / 'report.txt').read_text(encoding='utf-8')


def check_there(sources: Sources) -> None:
  """Refuses folders and files that are not there, by their flags."""
  for folder in sources.videos:
    if not pathlib.Path(folder).is_dir():
      raise FileNotFoundError(f'--videos: there is no folder {folder}')
  names = sources.class_names
  if names and not pathlib.Path(names).is_file():
    raise FileNotFoundError(f'--class_names: there is no file {names}')


FLAGS = {
  'annotations': dict(
    type=pathlib.Path,
    action='append',
    default=[],
    help='a file, or a folder of files; may be given again',
  ),
  'videos': dict(
    type=pathlib.Path,
    action='append',
    required=True,
    help='a folder with videos anywhere below; may be given again',
  ),
  'out': dict(type=pathlib.Path, required=True, help='the folder to prepare'),
  'class_names': dict(
    type=pathlib.Path, help='a file that names numbered classes'
  ),
  'untrimmed': dict(
    action='store_true',
    help='Kinetics: files are whole videos, not the annotated ten seconds',
  ),
  'check': dict(
    choices=CHECKS,
    default='first',
    help='frames to decode before a video is stored (default: first)',
  ),
  'short_side': dict(
    type=int, default=0, help='px, to encode anew; 0 (default) keeps the bytes'
  ),
  'gop': dict(type=int, default=12, help='frames from keyframe to keyframe'),
  'crf': dict(type=int, default=20, help='quality when encoded; less is finer'),
  'shard_mib': dict(type=float, default=512, help='size of a file of the set'),
  'processes': dict(type=int, default=os.cpu_count(), help='default: cores'),
  'beam': dict(
    metavar='FLAGS',
    help="run as a Beam pipeline with Beam's own flags ('': on this machine)",
  ),
  'debug': dict(
    action='store_true', help='show where in the program an error was raised'
  ),
}
# Raised for what a command or its data get wrong: the message is for users.
EXPECTED = (ValueError, OSError, RuntimeError)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
  """What the command line says."""
  parser = argparse.ArgumentParser(
    prog='python -m data.prepare',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('data_set', choices=DATA_SETS)
  for name, settings in FLAGS.items():
    parser.add_argument(f'--{name}', **settings)
  return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
  """Prepares what the command line says, and prints the report.

  An expected error is one message, and exit status 1.
  """
  args = parse(arguments)
  try:
    text = prepare_as_told(args)
  except EXPECTED as error:
    if args.debug:
      raise
    print(f'\n{type(error).__name__}: {error}', file=sys.stderr)
    sys.exit(1)
  print(text)
  print(f'Train on it with --config.data.root={args.out}')


def prepare_as_told(args: argparse.Namespace) -> str:
  """`prepare`, with what the command line says. -> the report."""
  names = args.class_names
  sources = Sources(
    annotations=[path.expanduser() for path in args.annotations],
    videos=[path.expanduser() for path in args.videos],
    class_names=names and names.expanduser(),
    untrimmed=args.untrimmed,
  )
  return prepare(
    DATA_SETS[args.data_set],
    sources,
    args.out,
    treatment=Treatment(args.check, args.short_side, args.gop, args.crf),
    shard_mib=args.shard_mib,
    processes=args.processes,
    beam=None if args.beam is None else shlex.split(args.beam),
  )


if __name__ == '__main__':
  main()
