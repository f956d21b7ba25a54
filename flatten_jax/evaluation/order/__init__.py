# SPDX-License-Identifier: Apache-2.0
"""What the order of frames brings, in one table after the test."""
