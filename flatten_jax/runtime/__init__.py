# SPDX-License-Identifier: Apache-2.0
"""What every mode stands on: config, devices, workdir, model, preprocessing."""
