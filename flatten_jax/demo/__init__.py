# SPDX-License-Identifier: Apache-2.0
"""A page that shows a model at work on one's own videos, for a browser."""
