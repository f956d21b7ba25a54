# SPDX-License-Identifier: Apache-2.0
"""Serves the demo until it is stopped, and leaves no file behind."""

from collections.abc import Iterator
import contextlib
import logging
import os
import pathlib
import signal
import tempfile
import threading
import time
import types

from flatten_jax.demo import answers, example_videos

LARGEST_UPLOAD = '200mb'
_STOP = (signal.SIGTERM, signal.SIGHUP)  # As Ctrl-C, which is SIGINT.


def launch_demo(
  source: str | os.PathLike = '',
  *,
  host: str = '127.0.0.1',
  port: int | None = None,
) -> None:
  """Serves a page that shows a model at work, until Ctrl-C or SIGTERM.

  Visitors give a video, or record one. They get its classes, as a whole and by
  second, the clip as the model sees it, its evidence (Grad-CAM), and the
  answers to the same clip reversed and shuffled. Videos are deleted after an
  hour and at the end.

  Args:
    source: workdir of a training run; published weights; an exported file, or
      the folder of several, which have no Grad-CAM; '' for the weights of this
      package, with example videos.
    host: address to listen at: this machine's own by default; '0.0.0.0' serves
      the network.
    port: by default the first free one from 7860.

  Raises:
    RuntimeError: Gradio is not installed; the message contains the command.
    OSError: the port is taken.
  """
  with _stopped_by_signals(), _own_temporary_files() as folder:
    page = _import_page()  # Gradio makes a temporary folder when imported.
    logging.getLogger('httpx').setLevel(logging.WARNING)  # Gradio's requests.
    model = answers.open_model(source)
    examples = example_videos.make(folder)
    print('Compiling ...', flush=True)
    answers.answer(model, examples[0])  # The first visitor does not wait.
    is_ours = not source or os.fspath(source) == answers.BUNDLED
    blocks = page.build(model, examples if is_ours else ())
    try:
      _, url, _ = blocks.launch(
        server_name=host,
        server_port=port,
        max_file_size=LARGEST_UPLOAD,
        prevent_thread_lock=True,
        inline=False,
        share=False,
        quiet=True,
        ssr_mode=False,
        mcp_server=False,
        run_history=False,
        show_error=False,
        **page.launch_options(),
      )
    except OSError as error:
      raise OSError(
        f'The demo cannot listen at {host}, port {port or "7860 to 7959"}. '
        f'Give another --port or --host ({error}).'
      ) from error
    print(f'{model.source}: open {url} (Ctrl-C stops it)', flush=True)
    try:
      while True:
        time.sleep(3600)
    except KeyboardInterrupt:
      print('Stopped.')
    finally:
      blocks.close(verbose=False)


def _import_page() -> types.ModuleType:
  """Imports the page, and Gradio with it."""
  try:
    from flatten_jax.demo import page
  except ImportError as error:
    raise RuntimeError(
      f'The demo needs Gradio: pip install "flatten-jax[demo]" ({error}).'
    ) from error
  return page


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
  """Lets the signals that end a process interrupt it, as Ctrl-C does."""
  before = {}
  if threading.current_thread() is threading.main_thread():
    for number in _STOP:
      before[number] = signal.signal(number, signal.default_int_handler)
  try:
    yield
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


@contextlib.contextmanager
def _own_temporary_files() -> Iterator[pathlib.Path]:
  """Puts all temporary files, also Gradio's, into a folder that is deleted."""
  before = tempfile.tempdir, os.environ.get('GRADIO_TEMP_DIR')
  with tempfile.TemporaryDirectory(prefix='flatten_jax_demo_') as folder:
    tempfile.tempdir = folder
    os.environ['GRADIO_TEMP_DIR'] = os.path.join(folder, 'uploads')
    try:
      yield pathlib.Path(folder)
    finally:
      tempfile.tempdir, uploads = before
      os.environ.pop('GRADIO_TEMP_DIR')
      if uploads is not None:
        os.environ['GRADIO_TEMP_DIR'] = uploads
