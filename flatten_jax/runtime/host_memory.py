# SPDX-License-Identifier: Apache-2.0
"""Lets a process keep the memory that it frees, which XLA on CPU needs."""

import ctypes
import sys

# From malloc.h of the GNU C library.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
  """Tells the C library to reuse freed memory rather than hand it back.

  XLA on CPU asks for one block for all of a step's intermediates and frees it
  at the end. By default that block is mapped anew for every step and zeroed by
  the kernel page by page: a quarter of the time of a UniFormer-XXS training
  step (127 000 page faults, 250 of 1030 ms). The price: the process keeps its
  largest size until it ends.

  Returns:
    Whether it was done: only with the GNU C library, so on most of Linux.
  """
  if not sys.platform.startswith('linux'):
    return False
  try:
    mallopt = ctypes.CDLL('libc.so.6').mallopt
  except (OSError, AttributeError):  # Another C library, musl for one.
    return False
  # One heap for all threads, no blocks outside of it, none of it given back.
  options = ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1))
  return all(mallopt(option, value) for option, value in options)
