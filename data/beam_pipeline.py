# SPDX-License-Identifier: Apache-2.0
"""Makes the shards of a plan on many machines, with Apache Beam.

All machines see the same folders, --videos and --out, under the same names. A
machine gets the name of a shard; everything else is in the plan.
"""

from collections.abc import Callable, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from data.plan import Plan
from data.shards import make_shard


def make_all(out: str, arguments: Sequence[str]) -> None:
  """Makes all missing shards.

  Args:
    out: the prepared folder.
    arguments: of Beam, like `--runner=FlinkRunner`; none: this machine.
  """
  todo = Plan.load(out).todo(out)
  run(make_shard, [(out, name) for name in todo], arguments)


def run(
  function: Callable[..., object], jobs: list[tuple], arguments: Sequence[str]
) -> None:
  """Calls a function with the arguments of each job, anywhere."""
  with beam.Pipeline(options=PipelineOptions(list(arguments))) as pipeline:
    _ = (
      pipeline
      | 'Jobs' >> beam.Create(jobs, reshuffle=True)
      | 'Make' >> beam.MapTuple(function)
    )
