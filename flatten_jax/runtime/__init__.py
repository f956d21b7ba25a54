# SPDX-License-Identifier: Apache-2.0
"""The ground of every mode: config, devices, workdir, model, preprocessing."""
