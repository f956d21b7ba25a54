# SPDX-License-Identifier: Apache-2.0
"""Maps labels by class name: lists number the same classes differently."""

import dataclasses
import logging

from flatten_jax.inputs.sources import labels
from flatten_jax.inputs.sources.dataset import Videos

log = logging.getLogger('flatten_jax')


def match_labels(
  videos: Videos, class_names: tuple[str, ...], title: str
) -> Videos:
  """Renumbers the labels of `videos` in the order of `class_names`.

  Args:
    videos: may number the same classes differently, or lack some.
    class_names: of the model, in the order of its outputs.
    title: name of the videos in the log and in errors.

  Raises:
    ValueError: the videos have classes that the model lacks; they are named.
  """
  if videos.class_names == class_names:
    return videos
  numbers = {labels.canonical(name): i for i, name in enumerate(class_names)}
  theirs = [labels.canonical(name) for name in videos.class_names]
  if not numbers.keys() >= set(theirs):
    unknown = [
      name
      for name, key in zip(videos.class_names, theirs, strict=True)
      if key not in numbers
    ]
    absent = [n for n in class_names if labels.canonical(n) not in theirs]
    raise ValueError(
      f'The {title} videos have {len(unknown)} classes that the model does '
      f'not know: {", ".join(unknown[:10])}. They lack {len(absent)} of its '
      f'{len(class_names)} classes: {", ".join(absent[:10]) or "none"}.'
    )
  log.info('Classes of the %s videos are matched by name', title)
  records = tuple(
    record.with_classes(tuple(numbers[theirs[c]] for c in record.classes))
    for record in videos.records
  )
  return dataclasses.replace(videos, records=records, class_names=class_names)
