# SPDX-License-Identifier: Apache-2.0
"""Every kind of file is sought in: few frames are decoded for few wanted ones.

Each frame equals that of a full decode, also where files were cut or joined.
"""

import itertools

import av
import numpy as np
import pytest

from flatten_jax.inputs.sources import index_builder
from flatten_jax.inputs.video.container import VideoFile
from flatten_jax.inputs.video.read import Video, probe
from flatten_jax.inputs.video.reference_frames import split_by_start_code
from tests.support.video_maker import decode_all, moving_square, write_video

NUM_FRAMES = 120
GOP = {'g': '12', 'bf': '2'}
OPEN = {'x264-params': 'keyint=12:open-gop=1:bframes=3:b-adapt=0:scenecut=0'}
INTERLACED = GOP | {'x264-params': 'interlaced=1'}
HEVC = {'x265-params': 'keyint=12:bframes=3:log-level=none'}
FRAGMENTS = {'movflags': 'frag_keyframe+empty_moov'}
X264, X265 = 'libx264', 'libx265'
# File name: codec, options, those of the container.
KINDS = {
  'b_frames.mp4': (X264, GOP, {}),
  'b_frames.mkv': (X264, GOP, {}),
  'b_frames.flv': (X264, GOP, {}),
  'b_frames.avi': (X264, GOP, {}),
  'b_frames.asf': (X264, GOP, {}),
  'b_frames.ts': (X264, GOP, {}),
  'b_frames.m2ts': (X264, GOP, {}),
  'b_frames.mpg': (X264, GOP, {}),
  'b_frames.h264': (X264, GOP, {}),
  'no_cues.mkv': (X264, GOP, {'live': '1'}),
  'fragments.mp4': (X264, GOP, FRAGMENTS),
  'open.mkv': (X264, OPEN, {}),
  'open.ts': (X264, OPEN, {}),
  'interlaced.ts': (X264, INTERLACED, {}),
  'pyramid.ts': (X264, GOP | {'bf': '7', 'x264-params': 'b-pyramid=2'}, {}),
  'hevc.mkv': (X265, HEVC, {}),
  'hevc.ts': (X265, HEVC, {}),
  'mpeg2.mkv': ('mpeg2video', GOP, {}),
  'mpeg2.ts': ('mpeg2video', GOP, {}),
  'mpeg2.vob': ('mpeg2video', GOP, {}),
  'mpeg1.mpg': ('mpeg1video', GOP, {}),
  'mpeg4.avi': ('mpeg4', GOP, {}),
  'packed.avi': ('mpeg4', GOP, {}),
  'vp9.webm': ('libvpx-vp9', {'g': '12', 'cpu-used': '8'}, {}),
}


@pytest.fixture(scope='module')
def make(tmp_path_factory):
  """Returns a function that makes a video of a kind on first use."""
  folder = tmp_path_factory.mktemp('kinds')

  def make(name):
    codec, options, container = KINDS[name]
    path = folder / name
    if not path.exists():
      is_packed = name == 'packed.avi'
      frames = noise() if is_packed else moving_square(NUM_FRAMES)
      write_video(path, frames, codec, options=options, container=container)
      if is_packed:
        pack_b_frames(path)
    return path

  return make


def noise():
  """Frames of which none is so small that FFmpeg takes it for an empty one."""
  shape = NUM_FRAMES, 48, 64, 3
  return np.random.default_rng(0).integers(0, 255, shape, np.uint8)


def pack_b_frames(path, forget=0):
  """Packs B-frames as DivX does: I, P, B, B, P becomes I, PB, B, -, P.

  Leaves out the first `forget` of the empty packets.
  """
  with av.open(str(path)) as old:
    packets = [packet for packet in old.demux(video=0) if packet.size]
    data = [bytes(packet) for packet in packets]
    is_b = [packet[packet.find(PICTURE) + 4] >> 6 == 2 for packet in data]
    after = list(itertools.accumulate(is_b, lambda n, b: n + 1 if b else 0))
    packed = []
    for number, picture in enumerate(data):
      follows = [*after[number + 1 :], 0][0]
      if after[number] == 1:
        packed[-1] += picture
      else:
        at = picture.find(PICTURE)
        name = DIVX if packets[number].is_keyframe else b''
        packed.append(picture[:at] + name + picture[at:])
      if after[number] and not follows:
        packed.append(NOT_CODED)
    for _ in range(forget):
      packed.remove(NOT_CODED)
    copy = path.with_stem('copy')
    with av.open(str(copy), 'w') as new:
      stream = new.add_stream_from_template(old.streams.video[0])
      for number, picture in enumerate(packed):
        packet = av.Packet(picture)
        packet.stream, packet.time_base = stream, packets[0].time_base
        packet.pts = packet.dts = number
        packet.is_keyframe = number < len(data) and packets[number].is_keyframe
        new.mux(packet)
  copy.replace(path)


PICTURE, DIVX = b'\0\0\1\xb6', b'\0\0\1\xb2DivX503b1393p'
NOT_CODED = PICTURE + b'\x50\x4f'  # A P-picture of which vop_coded is 0.


@pytest.fixture
def decoded(monkeypatch):
  """The sizes of all packets that were decoded."""
  sizes, original = [], VideoFile.decode

  def count(self, packet):
    if packet is not None and packet.size:
      sizes.append(packet.size)
    return original(self, packet)

  monkeypatch.setattr(VideoFile, 'decode', count)
  return sizes


def assert_exact(path, numbers=None):
  """Compares frames, read in several ways, with those of a full decode."""
  truth = decode_all(path)
  numbers = range(0, len(truth), 3) if numbers is None else numbers
  for number in numbers:
    with Video(path) as video:
      assert video.num_frames == len(truth)
      (frame,) = video.read([number])
    np.testing.assert_array_equal(frame, truth[number], f'frame {number}')
  with Video(path) as video:  # Backwards, so that each read begins again.
    for number in (len(truth) - 1, len(truth) // 2, 1):
      np.testing.assert_array_equal(video.read([number])[0], truth[number])
    several = [0, len(truth) // 3, len(truth) - 2]
    clip = video.read(several)
    np.testing.assert_array_equal(clip, [truth[i] for i in several])


@pytest.mark.parametrize('name', KINDS)
def test_little_is_decoded_for_little(make, decoded, name):
  path = make(name)
  with Video(path) as video:
    clip = video.read([110, 112])
  # The beginning of some kinds is decoded, as far as frames may be missing.
  assert 0 < len(decoded) < 70
  truth = decode_all(path)
  assert len(truth) == NUM_FRAMES
  np.testing.assert_array_equal(clip, [truth[110], truth[112]])


@pytest.mark.parametrize(
  'name', ['b_frames.mp4', 'b_frames.mkv', 'hevc.mkv', 'packed.avi']
)
def test_little_is_decoded_if_the_beginning_is_certain(make, decoded, name):
  path = make(name)
  with Video(path) as video:
    video.read([40, 42])
  assert 0 < len(decoded) < 25
  decoded.clear()  # Two ranges, with a long gap between them.
  with Video(path) as video:
    video.read([1, 49])
  assert 0 < len(decoded) < 35


@pytest.mark.parametrize('name', KINDS)
def test_frames_are_exact(make, name):
  assert_exact(make(name))


@pytest.mark.parametrize('name', KINDS)
def test_an_index_knows_the_same(make, decoded, name, tmp_path):
  path = make(name)
  with Video(path) as video:
    expected = video.read([5, 90])
  index = index_builder.build([path], tmp_path / 'index', progress=False)
  decoded.clear()
  with Video(path, table=index.get(path).table) as video:
    np.testing.assert_array_equal(video.read([5, 90]), expected)
  assert len(decoded) < 40


# --- Files that were cut, joined or moved in time -----------------------------


def copy_packets(source, target, first=0, offset=0.0):
  """Copies packets from number `first` on, later by `offset` seconds."""
  options = {'output_ts_offset': str(offset)}
  with (
    av.open(str(source)) as old,
    av.open(str(target), 'w', container_options=options) as new,
  ):
    stream = new.add_stream_from_template(old.streams.video[0])
    packets = (packet for packet in old.demux(video=0) if packet.size)
    for number, packet in enumerate(packets):
      if number >= first:
        packet.stream = stream
        new.mux(packet)
  return target


@pytest.mark.parametrize('first', [12, 15])
@pytest.mark.parametrize(
  'name', ['b_frames.ts', 'open.ts', 'hevc.ts', 'mpeg2.ts', 'open.mkv']
)
def test_a_file_that_begins_in_the_middle(make, decoded, tmp_path, name, first):
  path = copy_packets(make(name), tmp_path / name, first)
  with Video(path) as video:
    video.read([video.num_frames - 4])
  assert len(decoded) < 90
  assert_exact(path)


@pytest.mark.parametrize('share', [0.1, 0.3])
@pytest.mark.parametrize('name', ['b_frames.ts', 'mpeg2.vob', 'b_frames.h264'])
def test_a_file_whose_first_bytes_are_lost(make, tmp_path, name, share):
  data = make(name).read_bytes()
  path = tmp_path / name
  path.write_bytes(data[int(share * len(data)) :])
  assert_exact(path)


@pytest.mark.parametrize('name', ['b_frames.ts', 'hevc.ts', 'mpeg2.ts'])
def test_timestamps_may_wrap(make, decoded, tmp_path, name):
  # They have 33 bits and count 90 000 in a second.
  offset = 2**33 / 90_000 - 2
  path = copy_packets(make(name), tmp_path / name, offset=offset)
  with Video(path) as video:
    video.read([110])
  assert len(decoded) < 70
  assert_exact(path)


@pytest.mark.parametrize(
  'names',
  [
    ('b_frames.ts', 'b_frames.ts'),
    ('open.ts', 'open.ts', 'open.ts'),
    ('mpeg2.ts', 'mpeg2.ts'),
    ('mpeg2.vob', 'mpeg2.vob'),
    ('b_frames.h264', 'b_frames.h264'),
    ('interlaced.ts', 'interlaced.ts'),
  ],
)
def test_joined_files_are_sought_in(make, decoded, tmp_path, names):
  path = tmp_path / names[0]
  path.write_bytes(b''.join(make(name).read_bytes() for name in names))
  with Video(path) as video:
    assert video.num_frames == NUM_FRAMES * len(names)
    video.read([10, video.num_frames - 10])
  assert len(decoded) < 90
  assert_exact(path, range(90, 150, 2))


@pytest.mark.parametrize(
  'names', [('hevc.ts', 'hevc.ts'), ('b_frames.ts', 'open.ts')]
)
def test_doubtful_files_are_decoded_once(make, decoded, tmp_path, names):
  """And then sought in."""
  path = tmp_path / names[0]
  path.write_bytes(b''.join(make(name).read_bytes() for name in names))
  with Video(path) as video:
    count = video.num_frames
    decoded.clear()
    video.read([10, count - 10])
  assert len(decoded) < 60
  assert_exact(path, range(90, 150, 2))


def test_parameters_with_scaling_matrices(make, tmp_path):
  """Cameras of broadcasters send them; the decoder tells the order then."""
  data = make('b_frames.h264').read_bytes()
  changed = data.replace(b'gd\0\n\xac', b'gd\0\n\xad\0')
  assert changed != data
  path = tmp_path / 'scaling.h264'
  path.write_bytes(changed)
  assert_exact(path)


@pytest.mark.parametrize('name', ['refresh.mkv', 'refresh.mp4', 'refresh.ts'])
def test_keyframes_that_are_none_are_not_believed(tmp_path, name):
  """Every frame refers to the one before; a twelfth is refreshed at a time."""
  options = {'g': '12', 'bf': '0', 'x264-params': 'intra-refresh=1'}
  frames = moving_square(60)
  assert_exact(write_video(tmp_path / name, frames, options=options))


def test_damage_in_a_transport_stream_is_repaired_as_in_a_full_decode(
  make, tmp_path
):
  data = bytearray(make('b_frames.ts').read_bytes())
  del data[188 * (len(data) // 376) :][: 188 * 2]
  path = tmp_path / 'lost.ts'
  path.write_bytes(data)
  with Video(path) as video:
    assert video.num_frames == probe(path).num_frames
  assert_exact(path)


@pytest.mark.parametrize('name', ['mpeg4.avi', 'mpeg2.ts', 'b_frames.mkv'])
def test_a_file_that_ends_within_a_keyframe(make, tmp_path, name):
  """The decoder repairs it from the frames before it."""
  with av.open(str(make(name))) as file:
    packets = list(file.demux(video=0))
  keys = [packet for packet in packets if packet.is_keyframe]
  for key in keys[3:6]:
    path = tmp_path / f'{key.pts}_{name}'
    path.write_bytes(make(name).read_bytes()[: key.pos + key.size // 2])
    assert_exact(path)


def test_packed_frames_without_all_of_the_empty_packets(tmp_path):
  path = write_video(tmp_path / 'a.avi', noise(), 'mpeg4', options=GOP)
  pack_b_frames(path, forget=1)
  assert len(decode_all(path)) < NUM_FRAMES
  assert_exact(path)


def test_packed_frames_as_small_as_empty_packets(tmp_path):
  path = tmp_path / 'a.avi'
  write_video(path, moving_square(NUM_FRAMES), 'mpeg4', options=GOP)
  pack_b_frames(path)
  assert_exact(path)


def test_no_frame_is_decoded_to_count_those_of_matroska(make, decoded):
  with Video(make('b_frames.mkv')) as video:
    assert video.num_frames == NUM_FRAMES
  assert not decoded


def test_bytes_without_a_start_code_have_no_units():
  assert not list(split_by_start_code(b'\1\2\3'))
