# SPDX-License-Identifier: Apache-2.0
"""Where the metrics of a run go, by the names of `config.loggers`."""
