# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: lock, log, loggers, mirrors of buckets."""
