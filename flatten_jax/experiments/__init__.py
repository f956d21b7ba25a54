# SPDX-License-Identifier: Apache-2.0
"""Many runs: ablations, comparisons of systems, cross-validation, fusion."""
