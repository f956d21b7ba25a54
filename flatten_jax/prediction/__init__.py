# SPDX-License-Identifier: Apache-2.0
"""What a trained model says of videos that nobody has labelled."""
