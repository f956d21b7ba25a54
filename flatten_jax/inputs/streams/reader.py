# SPDX-License-Identifier: Apache-2.0
"""Reads a stream in a thread, and has the newest window ready."""

from collections.abc import Callable, Iterator, Mapping
import logging
import threading
import time

from flatten_jax.inputs.augment.transforms import test_frame_size
from flatten_jax.inputs.streams.connection import Connection
from flatten_jax.inputs.streams.sliding import (
  Frame,
  SlidingWindow,
  StreamClock,
  StreamWindow,
)
from flatten_jax.inputs.streams.sources import Place, Source, StreamError

log = logging.getLogger('flatten_jax')

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # Seconds before connecting again.


class StreamReader:
  """Reads a source in a thread of its own; yields its windows.

  A live source is always read: a window that is not taken before the next one
  is skipped, and a connection that breaks is made again. Any other waits until
  its windows are taken, all of them, and ends.

  Args:
    place: see `Source`.
    data: `config.data`, with the figures of the test views.
    every: seconds from the start of one window to that of the next.
    window: seconds; 0 for the length of a training clip.
    live: whether the source is live; None: as it tells.
    timeout: seconds without data after which a connection counts as broken; 0:
      no limit.
    reconnects: attempts to connect again before it gives up; None: no limit.

  Attributes:
    source: of the frames.
    live: whether windows may be skipped.

  Raises:
    StreamError: the source cannot be opened.
  """

  def __init__(
    self,
    place: Place,
    data: Mapping,
    *,
    every: float,
    window: float,
    live: bool | None = None,
    timeout: float = 10.0,
    reconnects: int | None = None,
  ):
    self.source = Source.of(place)
    self._size, self._timeout = test_frame_size(data), timeout
    self._reconnects, self._attempts = reconnects, 0
    self._connection = self._connect(live)
    self.live = self._connection.live
    self._sliding = SlidingWindow(data, every, window)
    self._clock = StreamClock(self.live)
    self._undecoded = 0  # Packets of earlier connections.
    self._count = 0  # Frames.
    self._slot = Slot(self.live)
    self._stop = threading.Event()
    self._thread = threading.Thread(
      target=self._run, daemon=True, name='reads the stream'
    )

  @property
  def skipped(self) -> int:
    """Windows that were not taken in time."""
    return self._slot.skipped

  @property
  def dropped(self) -> int:
    """Frames that were not decoded, or in skipped windows only."""
    return self._slot.dropped + self._undecoded + self._connection.undecoded

  def __iter__(self) -> Iterator[StreamWindow]:
    """Begins to read; yields windows, or raises StreamError."""
    self._thread.start()
    return iter(lambda: self._slot.get(self._check), None)

  def close(self) -> None:
    """Ends the thread; one that waits for the system is left behind."""
    self._stop.set()
    self._slot.close()
    if self._thread.is_alive():
      self._thread.join(timeout=1.0)

  def _check(self) -> None:
    """Raises StreamError if a read does not return, as of a silent pipe."""
    since, limit = self._connection.reading, self._timeout
    # Reads of the network return by themselves, before a second more.
    if limit and since and time.monotonic() - since > limit + 1.0:
      raise StreamError(self.source.name, f'nothing came for {limit:g} s')

  def _run(self) -> None:
    """Reads until the end; the thread."""
    try:
      while True:
        cause = self._read()
        self._connection.close()
        can_return = self.live and (self.source.is_url or self.source.is_camera)
        if self._stop.is_set() or not (
          can_return and self._connect_again(cause)
        ):
          break
      self._slot.finish()
    except BaseException as error:  # Raised where the windows are taken.
      self._slot.finish(error)

  def _read(self) -> str:
    """Reads until the connection ends. -> the cause."""
    try:
      for picture in self._connection.pictures():
        if self._stop.is_set():
          return 'stopped'
        self._attempts = 0
        seconds = self._clock.seconds(picture.stamp, picture.arrived)
        frame = Frame(self._count, seconds, picture.arrived, picture.image)
        self._count += 1
        for window in self._sliding.add(frame):
          self._slot.put(window)
    except StreamError as error:
      if not self.live and (self.source.is_url or not self._count):
        raise  # A part of a download tells nothing about the rest.
      if not self.live:
        log.warning('%s', error)
      return error.cause
    return 'it ended'

  def _connect(self, live: bool | None) -> Connection:
    return Connection(self.source, self._size, self._timeout, live)

  def _connect_again(self, cause: str) -> bool:
    """Connects after growing pauses; returns False if it shall stop."""
    while not self._stop.is_set():
      if self._attempts == self._reconnects:
        raise StreamError(
          self.source.name,
          f'{cause}. Gave up after {self._attempts} attempts to connect again',
        )
      pause = min(FIRST_PAUSE * 2 ** min(self._attempts, 9), LONGEST_PAUSE)
      self._attempts += 1
      name = self.source.name
      log.warning('%s: %s. Connecting again in %g s', name, cause, pause)
      self._stop.wait(pause)
      try:
        connection = self._connect(self.live)
      except StreamError as error:
        cause = error.cause
        continue
      log.info('%s: connected again', name)
      self._undecoded += self._connection.undecoded
      self._connection = connection
      self._sliding.restart()
      self._clock.reconnect()
      return True
    return False


class Slot:
  """Where the thread puts a window, and the model takes it.

  Args:
    live: whether a window replaces one that was not taken; else it waits.

  Attributes:
    skipped: windows that were replaced.
    dropped: frames that were in no window that was taken, but in a skipped one.
  """

  def __init__(self, live: bool):
    self._live = live
    self._changed = threading.Condition()
    self._window: StreamWindow | None = None
    self._error: BaseException | None = None
    self._ended = False
    self._last = -1  # Number of the last frame that is accounted for.
    self.skipped = self.dropped = 0

  def put(self, window: StreamWindow) -> None:
    """Puts a window there."""
    with self._changed:
      while self._window and not self._live and not self._ended:
        self._changed.wait()
      if self._window:
        self._skip(self._window, window)
      self._window = window
      self._changed.notify_all()

  def get(self, check: Callable[[], None]) -> StreamWindow | None:
    """Takes the window, or waits for one; None at the end.

    Args:
      check: called while it waits; may raise.

    Raises:
      BaseException: that which ended the thread.
    """
    with self._changed:
      while not self._window:
        if self._error:
          raise self._error
        if self._ended:
          return None
        check()
        self._changed.wait(0.5)
      window, self._window = self._window, None
      self._last = max(self._last, window.last)
      self._changed.notify_all()
      return window

  def finish(self, error: BaseException | None = None) -> None:
    """Says that no window follows the present one."""
    with self._changed:
      self._ended, self._error = True, error
      self._changed.notify_all()

  def close(self) -> None:
    """Gives up what was not taken."""
    with self._changed:
      self._ended, self._window = True, None
      self._changed.notify_all()

  def _skip(self, old: StreamWindow, new: StreamWindow) -> None:
    """Counts what is lost if `new` replaces `old`."""
    last = min(old.last, new.first - 1)
    self.dropped += max(last - max(old.first - 1, self._last), 0)
    self._last = max(self._last, last)
    self.skipped += 1
