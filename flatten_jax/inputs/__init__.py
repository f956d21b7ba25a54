# SPDX-License-Identifier: Apache-2.0
"""Makes batches of uint8 clips from video files; imports no jax.

A clip's way: `sources` finds videos and labels, `video` opens them, `sampling`
chooses frames, `video` decodes them, `augment` transforms them, `examples` puts
this together and `pipeline` makes batches. `synthetic` draws the embedded set.
"""

# Notebooks import `folders` from here.
from flatten_jax.inputs.sources import folders as folders
