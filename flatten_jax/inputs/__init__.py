# SPDX-License-Identifier: Apache-2.0
"""From video files to batches of uint8 clips; numpy, PyAV and Grain, no jax.

sources finds videos and labels, sampling chooses frames, decoding reads them,
transforms crop, and pipeline makes batches of it all.
"""

# Notebooks take `videos_below` from here.
from flatten_jax.inputs.sources import folders as folders
