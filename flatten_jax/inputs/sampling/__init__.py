# SPDX-License-Identifier: Apache-2.0
"""Chooses the frames of a video that make a clip, as published systems do.

`rules` is the table of `config.data.sampling`: `clips` has the rules that take
frames `stride` apart from one part of a video, `whole_videos` and `segments`
those that spread them over all of it. Training draws at random; a test view is
a function of the video's length and frame rate.
"""
