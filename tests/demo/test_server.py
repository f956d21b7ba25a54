# SPDX-License-Identifier: Apache-2.0
"""The demo's server, asked by clients and by a browser."""

import concurrent.futures
import re
import shutil
import signal
import sys
import urllib.parse

import pytest

from flatten_jax.demo import server
from tests.support.demo_server import SCRIPT, DemoServer

pytestmark = pytest.mark.slow  # A process of its own compiles again.
HOST = '127.0.0.1'


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
  pytest.importorskip('gradio', reason='the extra [demo] is not installed')
  folder = tmp_path_factory.mktemp('temporary')
  demo = DemoServer(['-c', SCRIPT], folder)
  assert demo.url, demo.output
  demo.folder = folder
  yield demo
  demo.stop(signal.SIGKILL)


@pytest.fixture
def ask(demo, tmp_path, monkeypatch):
  """Sends a video as another visitor. -> the values on the page."""
  import gradio_client

  monkeypatch.setenv('GRADIO_TEMP_DIR', str(tmp_path / 'client'))
  client = gradio_client.Client(demo.url, verbose=False)

  def ask(path):
    file = gradio_client.handle_file(str(path))
    return client.predict(file, api_name='/answer')

  return ask


def label_of(values):
  return next(
    x['label'] for x in values if isinstance(x, dict) and 'label' in x
  )


def test_two_visitors_at_once_get_their_own_answers(demo, videos, tmp_path):
  import gradio_client

  def visit(name):
    folder = tmp_path / name
    client = gradio_client.Client(
      demo.url, verbose=False, download_files=str(folder)
    )
    file = gradio_client.handle_file(str(videos[name]))
    return label_of(client.predict(file, api_name='/answer'))

  names = ['left', 'right', 'clockwise', 'left']
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    assert list(pool.map(visit, names)) == names


def test_what_is_no_video_is_a_message_and_the_server_goes_on(
  ask, videos, tmp_path
):
  notes = tmp_path / 'notes.mp4'
  notes.write_text('no video')
  problem = str(ask(notes))
  assert 'This video cannot be read: no video, or damaged' in problem
  assert label_of(ask(videos['right'])) == 'right'


def test_a_file_over_the_limit_is_refused(ask, tmp_path):
  large = tmp_path / 'large.mp4'
  large.write_bytes(bytes(2**20 + 1))
  with pytest.raises(Exception, match=r'413|1048576|exceeded'):
    ask(large)


def test_a_browser_shows_the_answer_and_asks_no_other_host(
  demo, videos, tmp_path
):
  api = pytest.importorskip('playwright.sync_api')
  chromium = shutil.which('chromium') or shutil.which('google-chrome')
  if chromium is None:
    pytest.skip('there is no chromium')
  with api.sync_playwright() as playwright:
    browser = playwright.chromium.launch(
      executable_path=chromium, args=['--no-sandbox', '--disable-gpu']
    )
    try:
      for width in (1280, 390):
        look(browser, demo.url, videos['left'], width)
    finally:
      browser.close()


def look(browser, url, video, width):
  """Gives a video to the page, and checks what it shows."""
  page = browser.new_page(viewport={'width': width, 'height': 850})
  page.set_default_timeout(60_000)
  asked, failed = set(), []
  page.on('request', lambda request: asked.add(request.url))
  page.on('pageerror', lambda error: failed.append(str(error)))
  page.goto(url)
  page.set_input_files('#clip input[type=file]', str(video))
  page.wait_for_selector('.demo-cards')
  assert page.inner_text('.demo-answer').startswith('left')
  assert 'from left to right when reversed' in page.inner_text('.demo-verdict')
  page.wait_for_function(
    "document.querySelector('#player video').currentTime > 1.2"
  )
  assert re.match(r'0:0[1-3] left', page.inner_text('.timeline .said'))
  page.wait_for_function(
    "parseFloat(document.querySelector('.timeline i').style.left) > 0"
  )
  widths = '(images) => images.map((image) => image.naturalWidth)'
  assert page.eval_on_selector_all('.demo-picture img', widths) == [480] * 3
  overflow = 'document.documentElement.scrollWidth - window.innerWidth'
  assert page.evaluate(overflow) <= 0
  assert not failed
  local = ('data', 'blob')
  parsed = [urllib.parse.urlparse(address) for address in asked]
  hosts = {x.hostname for x in parsed if x.scheme not in local}
  assert hosts == {HOST}
  page.close()


def test_it_connects_to_this_machine_only_and_leaves_nothing(demo):
  assert any(demo.folder.iterdir())  # Uploads, while it runs.
  assert demo.stop(signal.SIGTERM) == 0, demo.output
  addresses = re.findall(r"connects to \('([^']+)'", demo.output)
  assert set(addresses) <= {HOST, 'localhost', '::1'}
  assert list(demo.folder.iterdir()) == []


def test_without_gradio_one_line_says_how_to_install_it(monkeypatch):
  monkeypatch.setitem(sys.modules, 'gradio', None)
  monkeypatch.delitem(sys.modules, 'flatten_jax.demo.page', raising=False)
  # The package keeps it as an attribute if an earlier test has imported it.
  monkeypatch.delattr('flatten_jax.demo.page', raising=False)
  with pytest.raises(RuntimeError, match=r'pip install "flatten-jax\[demo\]"'):
    server.launch_demo()
