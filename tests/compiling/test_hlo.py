# SPDX-License-Identifier: Apache-2.0
"""Counts instructions, arithmetic and memory of a compiled program."""

import jax
from jax import lax
import jax.numpy as jnp
import pytest

from flatten_jax.compiling import arithmetic, collectives, hlo, memory_report

PROGRAM = """HloModule jit_step, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[]{:T(128)} parameter(0)
  %b = f32[]{:T(128)} parameter(1)
  ROOT %sum = f32[]{:T(128)} add(%a, %b)
}

%body (p: (s32[], bf16[8,16])) -> (s32[], bf16[8,16]) {
  %p = (s32[], bf16[8,16]{1,0:T(8,128)(2,1)}) parameter(0)
  %x = bf16[8,16]{1,0:T(8,128)(2,1)} get-tuple-element(%p), index=1
  %w = bf16[16,16]{1,0:T(8,128)(2,1)} constant({...})
  %y.remat = bf16[8,16]{1,0:T(8,128)(2,1)} dot(%x, %w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %i = s32[] get-tuple-element(%p), index=0
  ROOT %t = (s32[], bf16[8,16]{1,0}) tuple(%i, %y.remat)
}

%condition (p: (s32[], bf16[8,16])) -> pred[] {
  %q = (s32[], bf16[8,16]{1,0}) parameter(0)
  %j = s32[] get-tuple-element(%q), index=0
  %limit = s32[] constant(10)
  ROOT %less = pred[] compare(%j, %limit), direction=LT
}

ENTRY %main (x: bf16[8,16]) -> bf16[8,16] {
  %x.1 = bf16[8,16]{1,0:T(8,128)(2,1)} parameter(0)
  %zero = s32[] constant(0)
  %start = (s32[], bf16[8,16]{1,0}) tuple(%zero, %x.1)
  %loop = (s32[], bf16[8,16]{1,0}) while(%start), condition=%condition, body=%body, metadata={op_name="jit(step)/jvp(jit(attention))/while"}
  %z.remat = bf16[8,16]{1,0:T(8,128)(2,1)} get-tuple-element(%loop), index=1
  %moved = (bf16[8,16]{1,0}, bf16[8,16]{1,0}, u32[]) collective-permute-start(%z.remat), source_target_pairs={{0,1},{1,0}}
  %sums = (f32[64]{0}, f32[32]{0}) all-reduce(%a.1, %b.1), to_apply=%add
  %host = f32[] custom-call(%z.remat), custom_call_target="xla_python_cpu_callback"
  ROOT %end = bf16[8,16]{1,0} collective-permute-done(%moved)
}
"""
# A gather from before a loop to its end, with a part of the work in between.
ASYNCHRONOUS = """
%start (a: bf16[8,16]) -> bf16[16,16] {
  %a = bf16[8,16]{1,0} parameter(0)
  %g.1 = bf16[16,16]{1,0} all-gather(%a), channel_id=7, dimensions={0}
  ROOT %s = bf16[16,16]{1,0} custom-call(%g.1), custom_call_target="AsyncCollectiveStart"
}

%async_collective_fusion.1 (b: bf16[8,16]) -> bf16[16,16] {
  %b = bf16[8,16]{1,0} parameter(0)
  ROOT %g.2 = bf16[16,16]{1,0} all-gather(%b), channel_id=7, dimensions={0}
}

%done (c: bf16[8,16]) -> bf16[16,16] {
  %c = bf16[8,16]{1,0} parameter(0)
  %g.3 = bf16[16,16]{1,0} all-gather(%c), channel_id=7, dimensions={0}
  ROOT %d = bf16[16,16]{1,0} custom-call(%g.3), custom_call_target="AsyncCollectiveDone"
}

%body (p: bf16[8,16]) -> bf16[16,16] {
  %p = bf16[8,16]{1,0} parameter(0)
  ROOT %f.2 = bf16[16,16]{1,0} fusion(%p), kind=kOutput, calls=%async_collective_fusion.1
}

ENTRY %main (x: bf16[8,16]) -> bf16[16,16] {
  %x = bf16[8,16]{1,0} parameter(0)
  %f.1 = bf16[16,16]{1,0} fusion(%x), kind=kLoop, calls=%start
  %loop = bf16[16,16]{1,0} while(%x), body=%body, backend_config={"known_trip_count":{"n":"10"}}
  %f.3 = bf16[16,16]{1,0} fusion(%x), kind=kLoop, calls=%done
  %other = bf16[16,16]{1,0} all-gather(%x), channel_id=7, dimensions={0}
  ROOT %third = bf16[16,16]{1,0} all-gather(%x), channel_id=8, dimensions={0}
}
"""
REPORT = """Memory Space: default (color=0)
Total bytes: 3145728 (3.00MiB)
  cumulative_size;       size;       offset; used_by_n_values; shapes_list
  ------------------------------------------------------------
  2.00KiB( 66%);  2.00KiB;  0;  2; bf16[8,16], s32[]
  3.00KiB( 99%);  1.00KiB;  2048;  1; f32[64]

Memory Space: vmem (color=1)
Total bytes: 99 (99B)
  64.00KiB( 99%);  64.00KiB;  0;  1; f32[128,128]
"""


@pytest.fixture
def program():
  return hlo.Program(PROGRAM)


def test_a_loop_counts_as_often_as_it_runs(program):
  assert arithmetic.multiply_adds(program) == 10 * 8 * 16 * 16


def test_messages_are_counted_by_kind_and_type(program):
  assert collectives.count(program) == {
    ('collective-permute', 'bf16'): (1, 8 * 16 * 2),
    ('all-reduce', 'f32'): (1, (64 + 32) * 4),
  }


def test_an_asynchronous_message_is_one_though_fusions_repeat_it():
  assert collectives.count(hlo.Program(ASYNCHRONOUS)) == {
    ('all-gather', 'bf16'): (3, 3 * 16 * 16 * 2),
  }


@pytest.mark.parametrize(
  ('line', 'expected'),
  [
    ('(f32[8]{0}, f32[32]{0}) all-gather-start(%x)', {'f32': (1, 128)}),
    (
      '((f32[8]{0}, bf16[8]{0}), (f32[32]{0}, bf16[32]{0})) '
      'all-gather-start(%x, %y)',
      {'f32': (1, 128), 'bf16': (0, 64)},
    ),
    (
      '(f32[8]{0}, f32[8]{0}, u32[], u32[]) collective-permute-start(%x)',
      {'f32': (1, 32)},
    ),
    ('f32[2]{0} reduce-scatter(%x)', {'f32': (1, 32)}),
    (
      '(f32[2]{0}, bf16[2]{0}) reduce-scatter(%x, %y)',
      {'f32': (1, 32), 'bf16': (0, 16)},
    ),
    ('((f32[8]{0}), f32[2]{0}) reduce-scatter-start(%x)', {'f32': (1, 32)}),
    ('f32[8]{0} all-reduce-start(%x)', {'f32': (1, 32)}),
  ],
)
def test_bytes_are_those_of_the_whole_array(line, expected):
  text = f"""ENTRY %main (x: f32[8], y: bf16[8]) -> f32[8] {{
  %x = f32[8]{{0}} parameter(0)
  %y = bf16[8]{{0}} parameter(1)
  %m = {line}, channel_id=1
}}
"""
  found = collectives.count(hlo.Program(text))
  assert {dtype: values for (_, dtype), values in found.items()} == expected


def test_what_xla_repeats_and_the_host_are_found(program):
  assert program.recomputed() == 1
  assert program.host_callbacks() == 1
  assert program.forms() == {'attention': 'some queries at a time'}


def test_buffers_have_the_padding_of_their_layout(program):
  total, buffers = memory_report.read(REPORT, program)
  assert total == 3 * 2**20
  # 8 x 16 bfloat16 fill a tile of 8 x 128.
  assert buffers[0] == memory_report.Buffer(2048, 'bf16[8,16]', 8.0)
  assert len(buffers) == 2


@pytest.mark.parametrize(
  ('layout', 'bytes_'),
  [('', 60), ('2,1,0', 60), ('2,1,0:T(8,128)', 2 * 8 * 128 * 2)],
)
def test_tiles_pad_the_two_fastest_axes(layout, bytes_):
  array = hlo.Array('bf16', (2, 3, 5), layout)
  assert (array.bytes, array.padded_bytes) == (60, bytes_)


def test_four_bits_are_half_a_byte():
  array = hlo.Array('s4', (3, 5), '1,0:T(8,128)')
  assert (array.bytes, array.padded_bytes) == (7, 8 * 128 // 2)


def test_products_of_a_real_program_are_counted():
  def step(x, w):
    return jnp.tanh(x @ w) @ w.T

  x, w = jnp.ones((64, 128)), jnp.ones((128, 96))
  text = jax.jit(step).lower(x, w).compile().as_text()
  assert arithmetic.multiply_adds(hlo.Program(text)) == 2 * 64 * 128 * 96


@pytest.mark.parametrize(
  'target', ['__cublas$gemm', '__cublas$lt$matmul', '__cublas$lt$matmul$f8']
)
def test_products_of_cublas_are_counted(target):
  text = f"""ENTRY %main (x: bf16[64,128], w: bf16[128,96]) -> bf16[64,96] {{
  %x = bf16[64,128]{{1,0}} parameter(0)
  %w = bf16[128,96]{{1,0}} parameter(1)
  ROOT %y = (bf16[64,96]{{1,0}}, s8[4194304]{{0}}) custom-call(%x, %w), custom_call_target="{target}", backend_config={{"gemm_backend_config":{{"dot_dimension_numbers":{{"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["0"]}}}}}}
}}
"""
  assert arithmetic.multiply_adds(hlo.Program(text)) == 64 * 128 * 96


@pytest.mark.parametrize('stride', [1, 2])
def test_zeros_around_a_convolution_are_free(stride):
  x, kernel = jnp.ones((2, 9, 7, 16)), jnp.ones((3, 3, 16, 32))

  def convolve(x, kernel):
    return lax.conv_general_dilated(
      x,
      kernel,
      (stride, stride),
      ((1, 1), (1, 1)),
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )

  text = jax.jit(convolve).lower(x, kernel).compile().as_text()
  by_axis = [
    sum(
      0 <= out * stride + tap - 1 < size
      for out in range(-(-size // stride))
      for tap in range(3)
    )
    for size in (9, 7)
  ]
  expected = 2 * 16 * 32 * by_axis[0] * by_axis[1]
  assert arithmetic.multiply_adds(hlo.Program(text)) == expected
