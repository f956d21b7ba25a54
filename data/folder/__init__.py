# SPDX-License-Identifier: Apache-2.0
"""Your own videos: class folders or lists."""

from data.annotations import DataSet
from data.folder.annotations import read
from flatten_jax.inputs.sources.published_sets import PublishedSet

FOLDER = DataSet(
  published=PublishedSet('folder', description='Videos of a folder or a list.'),
  read=read,
  by_folder=True,
)
