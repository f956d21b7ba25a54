# SPDX-License-Identifier: Apache-2.0
"""Names and opens sources of frames: a URL, a camera, a pipe or a file."""

import dataclasses
import glob
import os
import re
from typing import Any, BinaryIO

import av
from av.container import InputContainer

from flatten_jax.inputs.video.container import describe
from flatten_jax.paths import expand

Place = str | os.PathLike | BinaryIO

# Their servers send at the pace of the camera, whoever listens. What comes by
# HTTP is live if it has no end.
LIVE = frozenset(
  {'rtmp', 'rtmps', 'rtp', 'rtsp', 'rtsps', 'srt', 'tcp', 'tls', 'udp'}
)
CAMERA = '/dev/video'
# A playlist of a server must not open files of this machine.
_REMOTE = 'crypto,data,http,httpproxy,https,' + ','.join(sorted(LIVE))
_SECRET = re.compile(r'((?:pass\w*|pwd|key|secret|token)=)[^&/_]*', re.I)


class StreamError(OSError):
  """A source that cannot be opened, or breaks: its name, and the cause."""

  def __init__(self, name: str, cause: str):
    super().__init__(f'{name}: {cause}')
    self.cause = cause


@dataclasses.dataclass(frozen=True)
class Source:
  """A source of frames.

  Attributes:
    place: a URL, a camera such as /dev/video0, a file, a named pipe, or a
      binary stream.
  """

  place: str | BinaryIO

  @classmethod
  def of(cls, place: Place) -> 'Source':
    """Returns a source; raises ValueError if it can be none."""
    if isinstance(place, str | os.PathLike):
      if os.fspath(place):
        return cls(os.fspath(place))
    elif hasattr(place, 'read'):
      return cls(place)
    raise ValueError(
      'A stream comes from a URL, a camera such as /dev/video0, a file or a '
      f'binary stream; got {place!r}.'
    )

  @property
  def name(self) -> str:
    """The name for messages, without passwords."""
    if not isinstance(self.place, str):
      return 'stdin'
    return public_name(self.place)

  @property
  def hint(self) -> str:
    """Advice to add to an error while it is read."""
    if isinstance(self.place, str):
      return ''
    return (
      ' (many mp4 files have their index at the end, and cannot be read from a '
      'pipe: name the file)'
    )

  @property
  def is_url(self) -> bool:
    """Whether it is a URL."""
    return isinstance(self.place, str) and is_url(self.place)

  @property
  def is_camera(self) -> bool:
    """Whether it is a camera of this machine."""
    return isinstance(self.place, str) and self.place.startswith(CAMERA)

  def is_live(self, container: InputContainer) -> bool:
    """Returns whether frames that nobody reads are lost, once it is open."""
    if not isinstance(self.place, str):
      return False
    return never_ends(self.place) or (self.is_url and not container.duration)

  def open(self, timeout: float) -> InputContainer:
    """Opens the source.

    Args:
      timeout: seconds to wait for an answer, and then for data; 0: no limit.

    Raises:
      StreamError: it cannot be opened, or has no video.
    """
    place, options = self._place_and_options()
    try:
      container = av.open(place, timeout=timeout or None, **options)
    except av.ExitError:
      raise StreamError(
        self.name, f'no video came within {timeout:g} s'
      ) from None
    except (av.FFmpegError, OSError) as error:  # Their text has the password.
      raise StreamError(
        self.name, f'it cannot be opened: {describe(error)}'
      ) from None
    if not any(stream.codec_context for stream in container.streams.video):
      container.close()
      raise StreamError(self.name, 'there is no video in it')
    return container

  def _place_and_options(self) -> tuple[Any, dict[str, Any]]:
    """Returns the arguments of `av.open`; raises StreamError."""
    if not isinstance(self.place, str):
      if hasattr(self.place, 'isatty') and self.place.isatty():
        raise StreamError(self.name, 'nothing is piped into it')
      return _Pipe(self.place), {'options': {'protocol_whitelist': ''}}
    if self.is_url:
      # Over UDP, the default, lost packets damage pictures.
      options = {'protocol_whitelist': _REMOTE, 'rtsp_transport': 'tcp'}
      return self.place, {'options': options}
    path = str(expand(self.place))
    if not os.path.exists(path):
      found = sorted(glob.glob(f'{CAMERA}*')) if self.is_camera else []
      cause = 'there is no such file'
      if self.is_camera:
        cause = 'there is no such camera; this machine has '
        cause += ', '.join(found) or 'none'
      raise StreamError(self.name, cause)
    if os.path.isdir(path):
      raise StreamError(self.name, 'it is a folder, which `predict` takes')
    if self.is_camera:
      return path, {'format': 'v4l2'}
    return f'file:{path}', {'options': {'protocol_whitelist': 'file'}}


class _Pipe:
  """A binary stream that returns what is there rather than wait for more."""

  def __init__(self, stream: BinaryIO):
    self.read = getattr(stream, 'read1', stream.read)


def is_url(place: str) -> bool:
  """Returns whether a name is a URL."""
  return '://' in place


def never_ends(place: str) -> bool:
  """Returns whether a name is that of a camera, or of a server of one."""
  scheme = place.partition('://')[0].lower() if is_url(place) else ''
  return scheme in LIVE or place.startswith(CAMERA)


def public_name(place: str) -> str:
  """Returns a name; of a URL without user, password and query."""
  if not is_url(place):
    return place
  scheme, _, rest = place.partition('://')
  # Up to the last @: people write passwords that contain others, or / and ?.
  rest = rest.rpartition('@')[2].partition('?')[0]
  return f'{scheme}://' + _SECRET.sub(r'\1***', rest)
