# SPDX-License-Identifier: Apache-2.0
"""Pictures of what a model looks at: Grad-CAM, feature maps, attention."""
