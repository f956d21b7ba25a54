# SPDX-License-Identifier: Apache-2.0
"""Peak FLOP/s of devices, from data sheets."""

# (part of `device_kind`, TFLOP/s in bfloat16, TFLOP/s of the default precision
# of float32), specific names first. The latter is TensorFloat-32 from A100 on,
# bfloat16 passes on TPUs, float32 before A100. GPUs without bfloat16 units
# compute it in float32. float16 is as fast as bfloat16 where there are units
# for both; the older ones have figures of their own, which are not listed.
# NVIDIA prints twice these figures, assuming sparsity. A chip of TPU7x is two
# devices, each with half of its 2307 TFLOP/s.
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
  ('TPU7x', 1153.5, 1153.5),
  ('TPU v6 lite', 918.0, 918.0),
  ('TPU v6e', 918.0, 918.0),
  ('TPU v5 lite', 197.0, 197.0),
  ('TPU v5e', 197.0, 197.0),
  ('TPU v5p', 459.0, 459.0),
  ('TPU v5', 459.0, 459.0),
  ('TPU v4', 275.0, 275.0),
)


def peak_flops(device_kind: str, dtype: str) -> float | None:
  """Returns FLOP/s of one device (a multiply-add is two), None if unknown.

  Args:
    device_kind: of a `jax.Device`, like 'NVIDIA H100 80GB HBM3'.
    dtype: of the model, 'bfloat16', 'float16' or 'float32'.
  """
  words = f' {device_kind} '
  for name, bfloat16, float32 in PEAKS:
    if f' {name} ' in words or f' {name}-' in words:
      if dtype == 'float16' and name in ('T4', 'V100'):
        return None
      return 1e12 * (float32 if dtype == 'float32' else bfloat16)
  return None
