# SPDX-License-Identifier: Apache-2.0
"""A table after the test: how much the order of frames brings."""
