# SPDX-License-Identifier: Apache-2.0
"""Makes the shards of a plan on many machines, with Apache Beam.

All machines see the same folders, --videos and --out, under the same names. A
machine is told the name of a shard and finds everything else in the plan.
"""

from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from data.plan import Plan
from data.shards import make_shard


def make_all(out: str, arguments: Sequence[str]) -> None:
  """Makes all shards that are not there yet.

  Args:
    out: the folder that is prepared.
    arguments: of Beam, like `--runner=FlinkRunner`; none: this machine.
  """
  todo = Plan.load(out).todo(out)
  with beam.Pipeline(options=PipelineOptions(list(arguments))) as pipeline:
    _ = (
      pipeline
      | 'Shards' >> beam.Create(todo, reshuffle=True)
      | 'Make' >> beam.ParDo(MakeShard(out))
    )


class MakeShard(beam.DoFn):
  """Makes a shard from its name; one that is there is left as it is."""

  def __init__(self, out: str):
    self._out = out

  def process(self, name: str):
    """Yields the name, for whoever wants to count."""
    make_shard(self._out, name)
    yield name
