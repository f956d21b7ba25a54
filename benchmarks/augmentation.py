# SPDX-License-Identifier: Apache-2.0
"""Measures augmentation on the host, and what could run on the device.

  python -m benchmarks.augmentation --out=benchmarks/results

Host: CPU time of one thread for a clip, as the pipeline makes it. RandAugment
gets whole frames, everything else the crop. Device: a jitted function of a
uint8 batch, which a training step would have to run instead; on a CPU, its CPU
time. Host and device take turns, so that a busy machine slows both.
"""

import argparse
import pathlib
import statistics
import time

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from flatten_jax.inputs.augment import flips, transforms
from flatten_jax.inputs.augment.randaugment import OPERATIONS, RandAugment
from flatten_jax.runtime.configuration import default_config

RECIPES = ('rand-m7-n4-mstd0.5-inc1', 'rand-m5-n2-mstd0.25')
ON_DEVICE = ('flip', 'erasing', 'brightness')


def moving_pattern(num_frames: int, height: int, width: int) -> np.ndarray:
  """Returns a clip with all levels and no flat areas. uint8 [T H W 3]."""
  t, y, x = np.ogrid[:num_frames, :height, :width]
  waves = [np.sin((x + 3 * t) / 9 + c) * np.cos(y / 7 - c) for c in range(3)]
  noise = np.random.default_rng(0).normal(0, 8, (num_frames, height, width, 3))
  return np.clip(127 + 100 * np.stack(waves, -1) + noise, 0, 255).astype(
    'uint8'
  )


def on_host(clip: np.ndarray, crop: int) -> dict:
  """Returns {name: function to time, without arguments}."""
  rng = np.random.default_rng(0)
  resized = transforms.RandomResizedCrop(crop)
  small = resized(clip, rng)
  tasks = {
    name: (lambda op=operation: op(clip, 7.0, 1, True))
    for name, operation in OPERATIONS.items()
  }
  for recipe in RECIPES:
    augment = RandAugment.parse(recipe)
    tasks[recipe] = lambda augment=augment: augment(clip, rng)
  tasks['random resized crop'] = lambda: resized(clip, rng)
  tasks['flip'] = lambda: flips.mirror(small)
  erase = transforms.RandomErasing(1.0)
  tasks['erasing'] = lambda: erase(small, rng)
  tasks['brightness'] = lambda: OPERATIONS['Brightness'](small, 7.0, 1, True)
  data = default_config.data().to_dict() | {
    'randaugment': RECIPES[0],
    'random_erasing': 0.25,
    'erasing_fill': 'noise',
    'crop': crop,
    'crop_method': 'area',
    'crop_area': (0.08, 1.0),
  }
  recipe = transforms.train_transforms(data)

  def whole():
    out = clip
    for transform in recipe:
      if isinstance(transform, flips.HorizontalFlip):
        out, _ = transform(out, (0,), rng)
      else:
        out = transform(out, rng)

  tasks['the whole recipe'] = whole
  return tasks


@jax.jit
def flip(clips, key):
  """Mirrors half of the clips. uint8 [B T H W C]."""
  mirrored = jax.random.bernoulli(key, 0.5, (len(clips),))
  return jnp.where(
    mirrored[:, None, None, None, None], clips[..., ::-1, :], clips
  )


@jax.jit
def erasing(clips, key):
  """Fills a box of every clip with noise, drawn for all pixels."""
  key_box, key_noise = jax.random.split(key)
  size = clips.shape[2]
  ends = jax.random.randint(key_box, (4, len(clips), 1), 0, size)
  places = jnp.arange(size)[None]
  inside = [
    (places >= a) & (places < b)
    for a, b in ((ends[0], ends[1]), (ends[2], ends[3]))
  ]
  box = inside[0][:, :, None] & inside[1][:, None, :]  # [B H W]
  noise = 255 * (0.45 + 0.225 * jax.random.normal(key_noise, clips.shape))
  noise = jnp.clip(noise, 0, 255).astype(jnp.uint8)
  return jnp.where(box[:, None, :, :, None], noise, clips)


@jax.jit
def brightness(clips, key):
  """Multiplies each clip by a factor."""
  factor = jax.random.uniform(key, (len(clips), 1, 1, 1, 1), maxval=2.0)
  return jnp.clip(clips * factor, 0, 255).astype(jnp.uint8)


def on_device(clip: np.ndarray, batch_size: int, crop: int) -> dict:
  """Returns {name: function to time, of a batch on the device}."""
  small = transforms.resize(clip, (crop, crop))
  clips = jax.device_put(np.stack([small] * batch_size))
  key = jax.random.key(0)
  return {
    function.__name__: (lambda f=function: f(clips, key).block_until_ready())
    for function in (flip, erasing, brightness)
  }


def times_of(
  host: dict, device: dict, repeats: int, clock
) -> tuple[dict, dict]:
  """Returns medians of CPU seconds on the host, of `clock` on the device."""
  seconds = {name: [] for name in host}, {name: [] for name in device}
  for number in range(repeats + 1):
    for tasks, kept, now in (
      (host, seconds[0], time.thread_time),
      (device, seconds[1], clock),
    ):
      for name, task in tasks.items():
        start = now()
        task()
        if number:  # The first compiles and fills caches.
          kept[name].append(now() - start)
  # Times that depend on random draws are averaged.
  varies = {*RECIPES, 'random resized crop', 'erasing', 'the whole recipe'}
  middle = lambda name: statistics.mean if name in varies else statistics.median  # noqa: E731
  host, device = (
    {name: middle(name)(values) for name, values in kept.items()}
    for kept in seconds
  )
  return host, device


def report(args, host: dict, device: dict, device_name: str) -> str:
  """Returns the page in Markdown."""
  lines = [
    '# Cost of augmentation',
    '',
    f'{args.frames} frames of {args.height} x {args.width}, cropped to '
    f'{args.crop} px. CPU-ms a clip on the host, one thread; medians of '
    f'{args.repeats} (means where the draw varies).',
    '',
    f'{measure.machine()}, OpenCV {cv2.__version__}, JAX {jax.__version__}.',
    '',
    '| before the crop, at magnitude 7 | CPU-ms a clip |',
    '|---|---|',
  ]
  names = [*OPERATIONS, *RECIPES]
  lines += [f'| {name} | {1000 * host[name]:.2f} |' for name in names]
  lines += ['', '| after it | CPU-ms a clip |', '|---|---|']
  names = ('random resized crop', 'flip', 'erasing', 'the whole recipe')
  lines += [f'| {name} | {1000 * host[name]:.2f} |' for name in names]
  kind = 'CPU-ms' if args.device_is_cpu else 'ms'
  lines += [
    '',
    f'| after the crop | host, CPU-ms a clip '
    f'| device ({device_name}), {kind} a clip |',
    '|---|---|---|',
  ]
  lines += [
    f'| {name} | {1000 * host[name]:.2f} '
    f'| {1000 * device[name] / args.batch_size:.2f} |'
    for name in ON_DEVICE
  ]
  rate = 1 / host['the whole recipe']
  lines += [
    '',
    f'The whole recipe is {rate:.0f} clips/s and core, without decoding.',
    '',
    'All of it runs on the host, ahead of training, in threads and workers, '
    'clip by clip from (seed, position), so that `--mode=inspect` shows what a '
    'model is trained on. A device would have to draw noise for every pixel to '
    'keep a few, and RandAugment comes before the crop.',
    '',
  ]
  return '\n'.join(lines)


def main(argv=None):
  """Times augmentation on the host and on the device, and reports both."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--frames', type=int, default=16)
  parser.add_argument('--height', type=int, default=256)
  parser.add_argument('--width', type=int, default=340)
  parser.add_argument('--crop', type=int, default=224)
  parser.add_argument('--batch_size', type=int, default=8)
  parser.add_argument('--repeats', type=int, default=60)
  parser.add_argument('--out', type=pathlib.Path)
  args = parser.parse_args(argv)
  cv2.setNumThreads(1)
  args.device_is_cpu = jax.default_backend() == 'cpu'
  clip = moving_pattern(args.frames, args.height, args.width)
  host = on_host(clip, args.crop)
  device = on_device(clip, args.batch_size, args.crop)
  clock = time.process_time if args.device_is_cpu else time.perf_counter
  text = report(
    args,
    *times_of(host, device, args.repeats, clock),
    jax.devices()[0].device_kind,
  )
  print(text)
  if args.out:
    (args.out / 'augmentation.md').write_text(text)


if __name__ == '__main__':
  main()
