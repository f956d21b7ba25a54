# SPDX-License-Identifier: Apache-2.0
"""Takes the picture of the demo in the docs, with the system's chromium.

python -m tests.support.demo_picture docs/demo.png
"""

import io
import os
import pathlib
import shutil
import sys
import tempfile

from PIL import Image
from playwright.sync_api import sync_playwright

from flatten_jax.demo import example_videos
from tests.support.demo_server import DemoServer

WIDTH = 1080  # px


def take(url: str, video: pathlib.Path) -> Image.Image:
  """Returns the page with the answer to a video, nine seconds into it."""
  with sync_playwright() as playwright:
    browser = playwright.chromium.launch(
      executable_path=shutil.which('chromium'),
      args=['--no-sandbox', '--disable-gpu'],
    )
    page = browser.new_page(viewport={'width': WIDTH, 'height': 800})
    page.goto(url)
    page.set_input_files('#clip input[type=file]', str(video))
    page.wait_for_selector('.demo-cards')
    player = "document.querySelector('#player video')"
    page.wait_for_function(f'{player}.readyState > 3')
    page.evaluate(f'{player}.pause(), {player}.currentTime = 9.5')
    page.wait_for_timeout(2000)
    picture = page.screenshot(full_page=True)
    browser.close()
  return Image.open(io.BytesIO(picture))


def main(out: str) -> None:
  """Starts a server and writes a PNG of few colors."""
  os.environ.setdefault('XLA_FLAGS', '')
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    video = example_videos.make(folder)[0]
    demo = DemoServer(['main.py', '--mode=demo'], folder)
    picture = take(demo.url, video)
    demo.stop()
  # This method keeps the colors of small objects, and the steps refine them.
  method = Image.Quantize.MAXCOVERAGE
  picture = picture.convert('RGB').quantize(256, method, kmeans=8)
  picture.save(out, optimize=True)


if __name__ == '__main__':
  main(sys.argv[1])
