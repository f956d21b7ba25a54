# SPDX-License-Identifier: Apache-2.0
"""Where published weights are, and a model that starts from them."""

import logging
import pathlib

from flax import nnx

from flatten_jax.models.weights import conversion, download, matching

log = logging.getLogger('flatten_jax')

# Model -> {training set: where its authors published the weights}.
CHECKPOINTS = {
  'resnet101': {
    'imagenet1k': 'https://download.pytorch.org/models/resnet101-63fe2227.pth',
  },
  'swinv2_t': {  # At 256 px; the window is what they were trained with.
    'imagenet1k': 'https://github.com/SwinTransformer/storage/releases/download/v2.0.0/swinv2_tiny_patch4_window8_256.pth',
    'imagenet1k_window16': 'https://github.com/SwinTransformer/storage/releases/download/v2.0.0/swinv2_tiny_patch4_window16_256.pth',
  },
  'uniformer_s': {
    'imagenet1k': download.drive_url('1-uepH3Q3BhTmWU6HK-sGAGQC_MpfIiPD'),
  },
  'uniformer_xxs': {  # The light variant, 160 px: all of ours but the stem.
    'imagenet1k': download.drive_url('1CsXCzfVFPyM2mY8BA_1fO3q_VBngnF44'),
  },
  'uniformer3d_s': {  # Frames x stride.
    'kinetics400': download.drive_url('1-jGZIIuTM5IYIpqkNTojhGhfMc7Gu9Kt'),
    'kinetics400_8x8': download.drive_url('1-kitVTkWErHXI_x-sLItvK9-sOmb53j6'),
    'ssv2': download.drive_url('1-Wq22024HB7tT8kPX6eSMn2GUNMI-_gY'),
    'hmdb51': download.drive_url('1Es4xtcEvQSomnbp6Eo7TC3JejIwHf5yS'),
    'imagenet1k': download.drive_url('1-uepH3Q3BhTmWU6HK-sGAGQC_MpfIiPD'),
  },
  'uniformer3d_xxs': {
    'kinetics400': download.drive_url('1DxqrNHb4h1ZKnEFaqbkKJAXQsyIFeD7b'),
    'kinetics400_8f': download.drive_url('1Dxq82X8mBsfVOzij0HSeb1g4sdez71FM'),
    'imagenet1k': download.drive_url('1CsXCzfVFPyM2mY8BA_1fO3q_VBngnF44'),
  },
}


def load_pretrained(
  model: nnx.Module, name: str, weights: str
) -> conversion.LoadReport:
  """Loads published weights, or a file's, as a start for training.

  All that `load_torch` can put up with is allowed, and logged.

  Args:
    model: changed in place.
    name: the model's name, to find its published weights.
    weights: the training set of published weights, a URL, or a path.

  Returns:
    As `load_torch`.
  """
  path = pathlib.Path(weights).expanduser()
  published = CHECKPOINTS.get(name, {})
  if not path.is_file():
    if weights in published:
      path = download.fetch(published[weights])
    elif download.is_url(weights):
      path = download.fetch(weights)
    else:
      raise ValueError(
        f'{weights!r} is neither a file, nor a URL, nor one of the published '
        f'weights for {name}: {list(published) or "there are none"}.'
      )
  report = conversion.load_torch(model, path, allow=matching.ALLOWANCES)
  differs = report.resized or report.left_at_init or report.dropped
  say = log.warning if differs else log.info
  say('%s from %s: %s', name, path, report)
  return report
