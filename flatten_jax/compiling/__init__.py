# SPDX-License-Identifier: Apache-2.0
"""Compiles a run's programs for machines that are not here (`--mode=compile`).

`machines` has the machines, `program` compiles one program in a process of its
own, `hlo` reads what the compiler wrote, `compile_for` is the mode.
"""
