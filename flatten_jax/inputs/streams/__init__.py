# SPDX-License-Identifier: Apache-2.0
"""Reads endless sources: cameras, servers and pipes, a window at a time.

`sources` opens them, `connection` decodes what arrives, `sliding` keeps the
newest frames and cuts windows of them, and `reader` does all of it in a thread.
"""
