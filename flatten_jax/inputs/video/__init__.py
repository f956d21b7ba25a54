# SPDX-License-Identifier: Apache-2.0
"""Reads exact frames of video files.

From the outside in: `reader` opens videos of a data set (`time_limit`, by the
clock of `running_time`, index, cache); `interface` is what an open video can
do, `read` does it for a file, `frame_files` for a folder of images. Inside of a
file: `container` opens it, `frame_table` counts its frames and finds its
`keyframes`, with the help of `display_order`; `frame_times` are their seconds.
`frame_decoder` decodes the wanted ones, `geometry` converts them.
"""
