# SPDX-License-Identifier: Apache-2.0
"""Reads exact frames of video files.

From the outside in: `reader` opens videos of a data set (time limit, index,
cache), `read` reads frames of one video, `frame_decoder` decodes them and
`geometry` converts them; `container` opens files, `frame_table` counts their
frames and finds the keyframes at which decoding may begin.
"""
