# SPDX-License-Identifier: Apache-2.0
"""Computes optical flow between two frames, with OpenCV."""

from collections.abc import Callable

import cv2
import numpy as np

# (grey frame, next one), uint8 [H W] -> pixels, float32 [H W 2].
Flow = Callable[[np.ndarray, np.ndarray], np.ndarray]


def dis() -> Flow:
  """Returns dense inverse search, in its medium preset (Kroeger et al., 2016).

  Frames have 12 px or more.
  """
  preset = cv2.DISOPTICAL_FLOW_PRESET_MEDIUM
  flow = cv2.DISOpticalFlow_create(preset)
  finest = flow.getFinestScale()

  def compute(before, after):
    nonlocal flow
    result = flow.calc(before, after, None)
    # It takes other scales for small frames, and then would keep them.
    if flow.getFinestScale() != finest:
      flow = cv2.DISOpticalFlow_create(preset)
    return result

  return compute


def farneback() -> Flow:
  """Returns polynomial expansion (Farnebäck, 2003), as in OpenCV's example."""
  options = (0.5, 3, 15, 3, 5, 1.2, 0)
  return lambda before, after: cv2.calcOpticalFlowFarneback(
    before, after, None, *options
  )


def tvl1() -> Flow:
  """Returns TV-L1 (Zach et al., 2007), the flow of published systems.

  Raises:
    RuntimeError: OpenCV has no contributed modules.
  """
  if not hasattr(cv2, 'optflow'):
    raise RuntimeError(
      'TV-L1 needs the contributed modules of OpenCV, the extra `tvl1`: `pip '
      'install --force-reinstall --no-deps opencv-contrib-python-headless=='
      f'{cv2.__version__}.*`, which replaces opencv-python-headless. Or choose '
      "'dis', which is a hundred times faster."
    )
  flow = cv2.optflow.DualTVL1OpticalFlow_create()
  return lambda before, after: flow.calc(before, after, None)


# By `config.data.flow_method`; they keep buffers, so a thread makes its own.
METHODS: dict[str, Callable[[], Flow]] = {
  'dis': dis,
  'farneback': farneback,
  'tvl1': tvl1,
}
