# SPDX-License-Identifier: Apache-2.0
"""What a model costs, and where it looks."""
