# SPDX-License-Identifier: Apache-2.0
"""Your own videos: class folders or lists."""

from data.annotations import DataSet
from data.folder.annotations import read

DATA_SET = DataSet(
  name='folder',
  read=read,
  homepage='',
  description='Videos of a folder or a list.',
  by_folder=True,
)
