# SPDX-License-Identifier: Apache-2.0
"""What a model looks at: Grad-CAM, feature maps, attention, as pictures."""
