# SPDX-License-Identifier: Apache-2.0
"""Optical flow: how pixels move from one frame of a video to the next.

`methods` computes it, `fields` makes bytes of it, `flow_video` shows a video as
stacks of it, and `prepared_flow` reads what `python -m data.prepare --flow`
computed before.
"""
