# SPDX-License-Identifier: Apache-2.0
"""Prints the answers of a stream, a line each, and sums them up at the end."""

from collections.abc import Iterable
import json
import logging

from flatten_jax.prediction.stream import StreamAnswer
from flatten_jax.prediction.timelines import clock

log = logging.getLogger('flatten_jax')


def show(answers: Iterable[StreamAnswer], as_json: bool = False) -> int:
  """Prints answers to stdout until they end, or until Ctrl-C.

  Args:
    answers: of `fj.stream`.
    as_json: prints JSON, an object per line.

  Returns:
    The number of answers.
  """
  count, total, most, last = 0, 0.0, 0.0, None
  try:
    for last in answers:
      text = last.line()
      if as_json:
        text = json.dumps(last.to_json(), allow_nan=False)
      print(text, flush=True)  # A pipe would get it late.
      count, total = count + 1, total + last.latency
      most = max(most, last.latency)
  except KeyboardInterrupt:
    pass
  finally:  # Also before the message of an error.
    if last:
      log.info(
        '%d answers in %s; latency %.0f ms on average, %.0f ms at most; %d '
        'windows skipped, %d frames dropped',
        *(count, clock(last.end), 1000 * total / count, 1000 * most),
        *(last.skipped, last.dropped),
      )
    else:
      log.info('No answer: it ended before one window was complete')
  return count
