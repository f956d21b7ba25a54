# SPDX-License-Identifier: Apache-2.0
"""Labels are matched by name: lists number the same classes differently."""

import dataclasses
import logging

from flatten_jax.inputs.sources import labels
from flatten_jax.inputs.sources.dataset import Videos

log = logging.getLogger('flatten_jax')


def match_labels(
  videos: Videos, class_names: tuple[str, ...], what: str
) -> Videos:
  """Numbers the labels of `videos` as `class_names` are, by class name.

  Args:
    videos: which may number the same classes otherwise, or lack some.
    class_names: of the model, in the order of its outputs.
    what: the videos are called in the log and in errors.

  Raises:
    ValueError: the videos have classes that the model does not know; they
      are named.
  """
  if videos.class_names == class_names:
    return videos
  numbers = {
    labels.canonical(name): number for number, name in enumerate(class_names)
  }
  theirs = [labels.canonical(name) for name in videos.class_names]
  unknown = [
    name
    for name, key in zip(videos.class_names, theirs, strict=True)
    if key not in numbers
  ]
  if unknown:
    absent = [
      name for name in class_names if labels.canonical(name) not in theirs
    ]
    raise ValueError(
      f'The {what} videos have {len(unknown)} classes that the model does '
      f'not know: {", ".join(unknown[:10])}. Of its '
      f'{len(class_names)}, {len(absent)} are not theirs: '
      f'{", ".join(absent[:10]) or "none"}.'
    )
  log.info('Classes of the %s videos are matched by name', what)
  to_ours = [numbers[key] for key in theirs]
  records = tuple(
    dataclasses.replace(
      record, label=to_ours[record.label] if record.label >= 0 else -1
    )
    for record in videos.records
  )
  return dataclasses.replace(videos, records=records, class_names=class_names)
