# SPDX-License-Identifier: Apache-2.0
"""What a device could compute at best, as its maker says."""

# Dense TFLOP/s by a part of `device_kind`, the more special names first: of
# bfloat16, and of what JAX computes float32 products with unless told otherwise
# (TensorFloat-32 from A100 on, bfloat16 passes on TPUs, float32 before A100).
# GPUs without bfloat16 units compute it in float32. From the data sheets, which
# print NVIDIA's figures twice as high where they assume sparsity.
PEAKS = (
  ('B200', 2250.0, 1125.0),
  ('H200 NVL', 835.0, 417.5),
  ('H200', 989.0, 494.5),
  ('H100 NVL', 835.0, 417.5),
  ('H100 PCIe', 756.0, 378.0),
  ('H100', 989.0, 494.5),
  ('A100', 312.0, 156.0),
  ('L40S', 362.0, 183.0),
  ('L4', 121.0, 60.0),
  ('T4', 8.1, 8.1),
  ('V100', 15.7, 15.7),
  ('TPU v6 lite', 918.0, 918.0),
  ('TPU v6e', 918.0, 918.0),
  ('TPU v5 lite', 197.0, 197.0),
  ('TPU v5e', 197.0, 197.0),
  ('TPU v5p', 459.0, 459.0),
  ('TPU v5', 459.0, 459.0),
  ('TPU v4', 275.0, 275.0),
)


def peak_flops(device_kind: str, dtype: str) -> float | None:
  """FLOP/s (a multiply-add is two) of one device; None where unknown.

  Args:
    device_kind: as `jax.Device` has it, like 'NVIDIA H100 80GB HBM3'.
    dtype: of the model, 'bfloat16' or 'float32'.
  """
  words = f' {device_kind} '
  for name, bfloat16, float32 in PEAKS:
    if f' {name} ' in words or f' {name}-' in words:
      return 1e12 * (bfloat16 if dtype == 'bfloat16' else float32)
  return None
