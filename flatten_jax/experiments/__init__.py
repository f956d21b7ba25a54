# SPDX-License-Identifier: Apache-2.0
"""Many runs of one config: ablations and cross-validation."""
