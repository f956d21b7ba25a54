# SPDX-License-Identifier: Apache-2.0
r"""Prepares a data set: annotations and video files become one folder.

  python -m data.prepare kinetics400 --annotations=/k400/annotations \
      --videos=/k400 --out=/prepared/kinetics400

A published set by its name, or folder for your own videos. The same command
resumes an interrupted preparation. See data/README.md.
"""

import argparse
from collections.abc import Sequence
import logging
import math
import os
import pathlib
import shlex
import shutil
import sys

from data import flow as flows, report, shards
from data.annotations import DataSet, Sources
from data.data_sets import DATA_SETS
from data.flow import Flow
from data.locate import Files, refuse_two_labels
from data.media import CHECKS, Treatment
from data.plan import FINISHED, WORK, check_finished, make_plan
from flatten_jax.inputs.flow.methods import METHODS
from flatten_jax.paths import expand

log = logging.getLogger('data')


def prepare(
  data_set: DataSet,
  sources: Sources,
  out: str | os.PathLike,
  *,
  treatment: Treatment = Treatment(),  # noqa: B008  It is frozen.
  shard_mib: float = 512,
  processes: int = 1,
  beam: Sequence[str] | None = None,
  flow: Flow | None = None,
  progress: bool = True,
) -> str:
  """Prepares `out`, resumes its preparation, or finds it complete.

  Args:
    data_set: to prepare.
    sources: its annotations and videos.
    out: a new or empty folder, or one whose preparation was interrupted.
    treatment: of the videos; the default stores their own bytes.
    shard_mib: size of the files of the set.
    processes: number of parallel processes.
    beam: arguments of Apache Beam, which then replaces the processes.
    flow: optical flow to compute; it may be added to a complete set, whose
      annotations and original videos need not be there any more.
    progress: shows bars.

  Returns:
    The report, which is in report.txt as well.

  Raises:
    FileNotFoundError: annotations or all of the videos are missing.
    FileExistsError: `out` holds another preparation, or something else.
    ValueError: the annotations cannot be read; file and line are named.
  """
  out = expand(out).absolute()
  if flow and (out / FINISHED).is_file():
    check_finished(out, data_set, treatment)
    log.info('%s is complete: its own videos are read, no others', out)
  else:
    store_videos(
      *(data_set, sources, out, treatment, int(shard_mib * 2**20)),
      *(processes, beam, progress),
    )
  for leftover in out.glob('.*.partial'):  # Of runs that were killed.
    leftover.unlink()
  shutil.rmtree(out / WORK, ignore_errors=True)
  text = (out / 'report.txt').read_text(encoding='utf-8')
  if flow is None:
    return text
  return f'{text}\n{flows.make_all(out, flow, processes, beam, progress)}'


def store_videos(
  data_set: DataSet,
  sources: Sources,
  out: pathlib.Path,
  treatment: Treatment,
  shard_bytes: int,
  processes: int,
  beam: Sequence[str] | None,
  progress: bool,
) -> None:
  """Makes the shards of a set, and its report, as far as they are missing."""
  for folder in sources.videos:
    if not folder.is_dir():
      raise FileNotFoundError(f'--videos: there is no folder {folder}')
  if sources.class_names and not sources.class_names.is_file():
    raise FileNotFoundError(
      f'--class_names: there is no file {sources.class_names}'
    )
  annotations = data_set.read(sources)
  files = Files(
    sources.videos, data_set.id_length, progress, data_set.by_folder
  )
  if not any(files.find(video) for video in annotations.videos):
    raise FileNotFoundError(
      f'None of the {len(annotations.videos)} annotated videos is among the '
      f'{len(files)} video files below {", ".join(map(str, sources.videos))}. '
      f'Expected a file name like {annotations.videos[0].name}'
    )
  if data_set.by_folder:
    refuse_two_labels(annotations, files)
  plan = make_plan(
    data_set, annotations, files.find, treatment, out, shard_bytes, progress
  )
  if not (out / FINISHED).is_file():
    if beam is None:
      shards.make_all(str(out), processes, progress)
    else:
      from data import beam_pipeline  # The extra 'beam' is optional.

      beam_pipeline.make_all(str(out), beam)
    left = plan.todo(out)
    if (out / FINISHED).is_file():  # Another process did the same.
      return
    if left:
      raise RuntimeError(f'{len(left)} shards of {out} were not made')
    report.finish(out, data_set)


def make_parser() -> argparse.ArgumentParser:
  """Returns the parser of the command line."""

  def path(text: str) -> pathlib.Path:
    return expand(text)

  parser = argparse.ArgumentParser(
    prog='python -m data.prepare',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add('data_set', choices=DATA_SETS)
  add(
    '--annotations',
    type=path,
    action='append',
    default=[],
    help='a file, or a folder of files; may be repeated',
  )
  add(
    '--videos',
    type=path,
    action='append',
    required=True,
    help='a folder with videos anywhere below; may be repeated',
  )
  add('--out', type=path, required=True, help='the folder to prepare')
  add('--class_names', type=path, help='a file that names numbered classes')
  add(
    '--untrimmed',
    action='store_true',
    help='Kinetics: files are whole videos, not the annotated ten seconds',
  )
  add(
    '--multi_label',
    action='store_true',
    help='folder: videos of the lists have several labels, like run;jump',
  )
  add(
    '--check',
    choices=CHECKS,
    default='first',
    help='frames to decode before a video is stored (default: first)',
  )
  add(
    '--short_side',
    type=int,
    default=0,
    help='px, to re-encode; 0 (default) keeps the bytes',
  )
  add('--gop', type=int, default=12, help='frames from keyframe to keyframe')
  add(
    '--crf', type=int, default=20, help='quality if re-encoded; less is finer'
  )
  add(
    '--flow',
    choices=METHODS,
    help='also compute optical flow; it may be added to a complete set',
  )
  add(
    '--flow_size',
    metavar='PX',
    help='of the frames of the flow: their shorter side, or HEIGHTxWIDTH; they '
    'are what training reads (default: --short_side, or 256)',
  )
  add('--shard_mib', type=float, default=512, help='size of a file of the set')
  add('--processes', type=int, default=os.cpu_count(), help='default: cores')
  add(
    '--beam',
    metavar='FLAGS',
    type=shlex.split,
    help="run as a Beam pipeline with Beam's own flags ('': on this machine)",
  )
  add('--debug', action='store_true', help='show the traceback of an error')
  return parser


def main(arguments: Sequence[str] | None = None) -> None:
  """Prepares a data set from the command line, and prints the report.

  An error of the command or its data is one message, and exit status 1.
  """
  args = make_parser().parse_args(arguments)
  logging.basicConfig(format='%(message)s', level=logging.INFO)
  sources = Sources(
    args.annotations,
    args.videos,
    args.class_names,
    args.untrimmed,
    args.multi_label,
  )
  try:
    if not 0 < args.shard_mib < math.inf or args.processes < 1:
      raise ValueError(
        '--shard_mib must be more than 0, and --processes 1 or more; got '
        f'{args.shard_mib:g} and {args.processes}.'
      )
    if args.multi_label and args.data_set != 'folder':
      raise ValueError(
        f'--multi_label is of folder: {args.data_set} has the labels that were '
        'published.'
      )
    if args.flow_size and not args.flow:
      raise ValueError('--flow_size is of --flow: give both, or neither.')
    size = args.flow_size or str(args.short_side or 256)
    text = prepare(
      DATA_SETS[args.data_set],
      sources,
      args.out,
      treatment=Treatment(args.check, args.short_side, args.gop, args.crf),
      shard_mib=args.shard_mib,
      processes=args.processes,
      beam=args.beam,
      flow=Flow.parse(args.flow, size) if args.flow else None,
    )
  except (ValueError, OSError, RuntimeError) as error:
    if args.debug:
      raise
    print(f'\n{error}', file=sys.stderr)
    sys.exit(1)
  print(text)
  print(f'Use it with --config.data.root={args.out}')


if __name__ == '__main__':
  main()
