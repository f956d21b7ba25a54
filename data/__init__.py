# SPDX-License-Identifier: Apache-2.0
"""Prepares published data sets: annotations and videos become one folder.

Of the library it imports `flatten_jax.inputs` only, and the library imports
nothing from here.
"""
