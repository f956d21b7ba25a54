# SPDX-License-Identifier: Apache-2.0
"""The sets that `data.prepare` prepares, by name."""

from data.charades import CHARADES
from data.diving48 import DIVING48
from data.folder import FOLDER
from data.hmdb51 import HMDB51
from data.jester import JESTER
from data.kinetics import KINETICS
from data.something_something_v2 import SOMETHING_SOMETHING_V2
from data.ucf101 import UCF101

DATA_SETS = {
  data_set.name: data_set
  for data_set in (
    *KINETICS,
    *(SOMETHING_SOMETHING_V2, HMDB51, UCF101, JESTER, DIVING48, CHARADES),
    FOLDER,
  )
}
