# SPDX-License-Identifier: Apache-2.0
"""Pages, tables and pictures about data, models and runs."""
