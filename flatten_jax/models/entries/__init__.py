# SPDX-License-Identifier: Apache-2.0
"""The models by family: classes, sizes, inputs and published weights."""
