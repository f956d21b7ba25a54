# SPDX-License-Identifier: Apache-2.0
"""Published data sets: from annotations and video files to prepared folders.

Nothing here imports the library, and the library imports nothing from here: a
folder that TFDS can read is all they share.
"""
