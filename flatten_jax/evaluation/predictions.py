# SPDX-License-Identifier: Apache-2.0
"""`Predictions` of the videos of a split, summed over views, and their file."""

import dataclasses
import pathlib
import zipfile
import zlib

import numpy as np

from flatten_jax import paths
from flatten_jax.evaluation import multi_label
from flatten_jax.inputs import views as views_notation
from flatten_jax.runtime import task as tasks

# Errors of numpy for a file that is gone, cut off, or of another kind.
_DAMAGED = (
  *(OSError, EOFError, KeyError, RuntimeError, TypeError, ValueError),
  *(zipfile.BadZipFile, zlib.error),
)


@dataclasses.dataclass(frozen=True)
class Predictions:
  """Logits of a model for every video of a split.

  Attributes:
    ids: one name per video, [N].
    labels: class numbers, [N]; -1 if unknown. Of a multi-label set, int8 [N K]:
      1 for each class of a video and 0 for the others, or -1 for all.
    logits: summed over the views, float32 [N K].
    scored: whether the video could be read, bool [N].
    class_names: K names, in the order of the logits.
    views: views of each video, as in '224x16x3x10'.
    thresholds: of a multi-label model, the probability from which each class
      counts, [K]; (): 0.5 for all.
  """

  ids: np.ndarray
  labels: np.ndarray
  logits: np.ndarray
  scored: np.ndarray
  class_names: tuple[str, ...]
  views: str = ''
  thresholds: tuple[float, ...] = ()

  def save(self, path: str | pathlib.Path) -> None:
    """Writes a .npz file in one piece; numpy alone can read it."""
    path = pathlib.Path(path)
    arrays = dataclasses.asdict(self)
    arrays['class_names'] = np.array(self.class_names)
    arrays['views'] = np.array(self.views)
    if not self.thresholds:  # As of one label per video.
      del arrays['thresholds']
    with paths.replacing(path) as partial, partial.open('wb') as file:
      np.savez_compressed(file, **arrays)

  @classmethod
  def load(cls, path: str | pathlib.Path) -> 'Predictions':
    """Reads a file that `save` wrote.

    Raises:
      ValueError: it is damaged or missing.
    """
    try:
      # numpy leaves a file open that it has opened itself and cannot read.
      with open(path, 'rb') as file, np.load(file, allow_pickle=False) as found:
        arrays = dict(found)
      arrays['class_names'] = tuple(arrays['class_names'].tolist())
      arrays['views'] = str(arrays['views'])
      limits = arrays.get('thresholds', np.zeros(0))
      arrays['thresholds'] = tuple(limits.tolist())
      return cls(**arrays)
    except _DAMAGED as error:
      raise ValueError(
        f'{path} is damaged or missing; --mode=evaluate writes it again.'
      ) from error

  @property
  def finite(self) -> np.ndarray:
    """Marks videos whose logits are all finite, [N]."""
    return np.isfinite(self.logits).all(-1)

  def probabilities(self) -> np.ndarray:
    """Returns the probabilities of the mean over the views, float32 [N K].

    They are NaN for videos whose logits are not finite.
    """
    logits = np.where(self.finite[:, None], self.logits, np.float32(np.nan))
    task = tasks.MULTI_LABEL if self.multi_label else tasks.SINGLE_LABEL
    return task.probabilities(logits / self.num_views)

  @property
  def multi_label(self) -> bool:
    """True if a video may have several labels."""
    return self.labels.ndim == 2

  @property
  def limits(self) -> np.ndarray:
    """The threshold of each class of a multi-label model, [K]."""
    default = [multi_label.DEFAULT] * len(self.class_names)
    return np.array(self.thresholds or default)

  def decided(self) -> tuple[np.ndarray, np.ndarray]:
    """Returns what the scores of a multi-label model are computed from.

    Of the videos that are known, probabilities, 0 without finite logits, and
    whether a video has the class, bool [N K].
    """
    probabilities = np.nan_to_num(self.probabilities()[self.known])
    return probabilities, self.labels[self.known] == 1

  @property
  def num_views(self) -> int:
    """Number of views of each video."""
    return views_notation.parse(self.views).count if self.views else 1

  @property
  def known(self) -> np.ndarray:
    """Marks videos that could be read and whose label is known, [N]."""
    labels = self.labels.max(-1) if self.multi_label else self.labels
    return self.scored & (labels >= 0)

  @property
  def answers(self) -> np.ndarray:
    """Predicted classes, [N]; -1 without finite logits.

    A tie is not a hit: the answer is another class than the label.
    """
    logits = self.logits.astype(np.float64)  # Finer than any two logits.
    label = np.arange(len(logits)), self.labels
    logits[label] = np.nextafter(logits[label], -np.inf)
    return np.where(self.scored & self.finite, logits.argmax(-1), -1)

  def confusion(self) -> np.ndarray:
    """Counts scored videos by label (row) and predicted class (column), [K K].

    Videos whose logits are not finite have no prediction and are left out.
    """
    num_classes = len(self.class_names)
    counts = np.zeros((num_classes, num_classes), np.int64)
    answers = self.answers
    known = self.known & (answers >= 0)
    np.add.at(counts, (self.labels[known], answers[known]), 1)
    return counts
