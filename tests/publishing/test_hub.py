# SPDX-License-Identifier: Apache-2.0
"""Models on a stand-in for the Hugging Face Hub: pushed, loaded, refused."""

import json
import subprocess
import sys

import pytest

import flatten_jax as fj
from flatten_jax import hub
from flatten_jax.checkpoints import published
from flatten_jax.command_line import short_commands
from flatten_jax.runtime.configuration import config as configs
from tests.publishing.conftest import same_weights
from tests.support import hub_server

pytest.importorskip('huggingface_hub')
# Of huggingface_hub, about its HTTP client.
pytestmark = pytest.mark.filterwarnings(
  "ignore:Use 'content=:DeprecationWarning"
)


@pytest.fixture(scope='module')
def home(tmp_path_factory):
  return tmp_path_factory.mktemp('hub_home')


@pytest.fixture(scope='module')
def server(home):
  """The server, which HF_ENDPOINT names when huggingface_hub is imported."""
  with hub_server.running() as server, pytest.MonkeyPatch.context() as patch:
    for name in [x for x in sys.modules if x.startswith('huggingface_hub')]:
      patch.delitem(sys.modules, name)
    for key, value in {
      'HF_ENDPOINT': server.address,
      'HF_HOME': str(home),
      'HF_TOKEN': hub_server.OWNER,
      'HF_HUB_DISABLE_XET': '1',  # A protocol of its own.
      'HF_HUB_DISABLE_PROGRESS_BARS': '1',
      'HF_HUB_DISABLE_TELEMETRY': '1',
    }.items():
      patch.setenv(key, value)
    yield server
    for name in [x for x in sys.modules if x.startswith('huggingface_hub')]:
      patch.delitem(sys.modules, name)


@pytest.fixture(scope='module')
def page(server, run):
  """The page of the repository that the run was pushed to."""
  return fj.push(run, 'alice/motions', license='cc-by-4.0')


def test_a_model_comes_back_from_the_hub_to_the_bit(server, page, run):
  assert page == f'{server.address}/alice/motions'
  repository = server.repositories['alice/motions']
  files = repository.commits[repository.revisions['main']]
  assert files.keys() == {*hub.FILES, '.gitattributes'}
  expected = fj.load(run)
  for model in (
    fj.from_pretrained('alice/motions'),
    fj.load('hf://alice/motions'),
  ):
    assert model.class_names == expected.class_names
    assert same_weights(model.module, expected.module)
  assert model.loaded.source == 'hf://alice/motions'


def test_a_training_starts_from_the_hub(page, run):
  address = 'hf://alice/motions'
  model = fj.create_model('uniformer_test', 12, pretrained=address)
  assert same_weights(model, fj.load(run).module)
  assert model.input_spec.num_frames == 4
  config = configs.config_of_run(run)
  config.model.pretrained, config.mean = address, ()
  trained = configs.config_of_run(run)
  assert configs.fill_and_check(config).mean == trained.mean


def test_a_revision_stays_as_it_was(server, page, run):
  repository = server.repositories['alice/motions']
  repository.revisions['v1'] = first = repository.revisions['main']
  second = json.loads(repository.commits[first][hub.CONFIG])
  second['id2label']['0'] = 'renamed'
  repository.commit({hub.CONFIG: json.dumps(second).encode()})
  assert fj.from_pretrained('alice/motions').class_names[0] == 'renamed'
  for model in (
    fj.load('hf://alice/motions@v1'),
    fj.from_pretrained('alice/motions', revision='v1'),
  ):
    assert model.class_names == fj.load(run).class_names
  with pytest.raises(OSError, match=r'motions@v2: the repository has no such'):
    fj.load('hf://alice/motions@v2')
  repository.revisions['main'] = first


def test_the_cache_answers_without_a_connection(page, monkeypatch):
  import huggingface_hub

  fj.load('hf://alice/motions')
  monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)
  assert fj.load('hf://alice/motions').class_names
  with pytest.raises(OSError, match='other is not in the cache of this mach'):
    fj.load('hf://alice/other')


def test_a_private_repository_needs_the_token(server, pushed, monkeypatch):
  fj.push(pushed, 'hf://alice/secret', private=True)
  assert server.repositories['alice/secret'].private
  assert fj.from_pretrained('alice/secret').class_names
  monkeypatch.setenv('HF_TOKEN', 'hf_another')
  with pytest.raises(OSError, match=r'no such repository, or it is private'):
    hub.fetch('hf://alice/unknown')
  with pytest.raises(OSError, match=r'status 401. Log in with `hf auth login`'):
    fj.push(pushed, 'alice/new')


def test_a_public_repository_does_not_become_private_unnoticed(page, pushed):
  with pytest.raises(ValueError, match=r'alice/motions is public'):
    fj.push(pushed, 'alice/motions', private=True)


def test_the_model_of_another_library_is_not_replaced(server, pushed):
  for name, files in {
    'alice/theirs': {'config.json': b'{"model_type": "vivit"}'},
    'alice/weights': {'model.safetensors': b'x'},
  }.items():
    repository = server.repositories[name] = hub_server.Repository()
    repository.commit(files)
    with pytest.raises(ValueError, match=f'{name} contains a model that'):
      fj.push(pushed, name)
    assert len(repository.commits) == 1
  server.repositories['alice/empty'] = empty = hub_server.Repository()
  empty.commit({'README.md': b'', '.gitattributes': b''})
  fj.push(pushed, 'alice/empty')
  fj.push(pushed, 'alice/empty')
  assert len(empty.commits) == 3


def test_weights_of_another_library_start_a_training_only(server, pushed):
  weights = (pushed / hub.WEIGHTS).read_bytes()
  repository = server.repositories['timm/theirs'] = hub_server.Repository()
  repository.commit({'config.json': b'{}', 'model.safetensors': weights})
  model = fj.create_model('uniformer_test', 12, pretrained='hf://timm/theirs')
  assert same_weights(model, fj.load(pushed).module)
  with pytest.raises(ValueError, match='Its weights can start a training'):
    fj.load('hf://timm/theirs')


def test_pickles_are_not_read(server):
  repository = server.repositories['eve/pickle'] = hub_server.Repository()
  repository.commit({'pytorch_model.bin': b'\x80\x04.'})
  with pytest.raises(ValueError, match=r'has no model\.safetensors, the only'):
    fj.create_model('uniformer_test', pretrained='hf://eve/pickle')
  repository.commit({'model.safetensors': b'\x80\x04cos\nsystem\n'})
  with pytest.raises(ValueError, match=r'has no model\.safetensors, the only'):
    fj.create_model('uniformer_test', pretrained='hf://eve/pickle')


def test_a_command_gets_a_folder_for_each_revision(server, page, run, tmp_path):
  address = 'hf://alice/motions'
  folder = published.workdir(address, tmp_path)
  commit = server.repositories['alice/motions'].revisions['main']
  assert folder == tmp_path / f'alice_motions_{commit[:8]}'
  assert {file.name for file in folder.iterdir()} == set(hub.FILES)
  (folder / 'predictions').mkdir()
  assert published.workdir(address, tmp_path) == folder
  assert fj.load(folder).class_names == fj.load(run).class_names
  assert (folder / 'predictions').is_dir()


def test_a_new_process_asks_the_endpoint_of_the_environment(server, page):
  """Imports nothing but what reads the Hub."""
  code = (
    'import sys; from flatten_jax import hub\n'
    "print(hub.fetch('hf://alice/motions'))\n"
    "assert 'jax' not in sys.modules\n"
    "hub.fetch('hf://alice/unknown')"
  )
  done = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=False
  )
  assert done.stdout.strip() == str(hub.fetch('hf://alice/motions'))
  assert 'OSError: hf://alice/unknown: there is no such repo' in done.stderr
  assert hub_server.OWNER not in done.stdout + done.stderr


def test_no_token_is_written(
  server, page, home, run, pushed, caplog, capfd, tmp_path
):
  caplog.set_level('DEBUG')
  fj.push(pushed, 'alice/again')
  hub.fetch('hf://alice/again')
  fj.push(run, tmp_path / 'folder')
  with pytest.raises(OSError) as error:
    hub.fetch('hf://alice/unknown')
  assert server.tokens >= {hub_server.OWNER}
  token = hub_server.OWNER
  assert token not in caplog.text + str(error.value) + ''.join(
    capfd.readouterr()
  )
  for folder in (home, run.parent, tmp_path):
    for file in folder.rglob('*'):
      assert not file.is_file() or token.encode() not in file.read_bytes(), file
  for repository in server.repositories.values():
    for files in repository.commits.values():
      assert not any(token.encode() in data for data in files.values())


def test_without_the_library_one_line_says_what_to_install(monkeypatch, run):
  monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
  for use in (
    lambda: fj.load('hf://alice/motions'),
    lambda: fj.push(run, 'alice/motions'),
  ):
    with pytest.raises(
      RuntimeError, match=r'pip install "flatten-jax\[hub\]"$'
    ):
      use()


@pytest.mark.parametrize(
  'address', ['hf://motions', 'hf://a/b/c', 'hf://a/b@', 'hf://a/../b']
)
def test_other_addresses_are_refused(address):
  with pytest.raises(
    ValueError, match='is hf://user/name, or hf://user/name@r'
  ):
    hub.parse(address)


def test_a_name_is_a_repository_unless_there_is_such_a_folder(
  tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  assert hub.address_of('alice/motions') == 'hf://alice/motions'
  (tmp_path / 'alice').mkdir()
  assert hub.address_of('hf://alice/motions') == 'hf://alice/motions'
  for path in (
    'alice/motions',
    './new/motions',
    '/new/motions',
    'new',
    'a/b/c',
  ):
    assert not hub.address_of(path)
  assert not hub.address_of(tmp_path)


def test_a_tag_is_not_pushed_to(run):
  with pytest.raises(ValueError, match='hf repos tag create alice/motions v1'):
    fj.push(run, 'hf://alice/motions@v1')


def test_words_of_commands():
  expand = lambda *words: short_commands.expand(['main.py', *words])[1:]  # noqa: E731
  assert expand('push', 'runs/mine', 'alice/motions') == [
    '--mode=push',
    '--workdir=runs/mine',
    '--to=alice/motions',
  ]
  assert expand('push', 'alice/motions', '--workdir=runs/mine')[1] == (
    '--to=alice/motions'
  )
  assert expand('predict', 'hf://alice/motions', 'clip.mp4') == [
    '--mode=predict',
    '--workdir=hf://alice/motions',
    '--video=clip.mp4',
  ]
  first, *_ = expand('evaluate', 'hf://a/b', '--config.data.root=/videos')
  assert first.endswith('runtime/configuration/run_config.py:hf://a/b')
  with pytest.raises(ValueError, match="'hf://a/b' is not a folder or a list"):
    expand('train', 'hf://a/b')


def test_published_names_and_addresses_are_told_from_folders():
  assert published.is_name('hf://alice/motions')
  assert published.is_name('uniformer_nano/quickstart')
  assert not published.is_name('alice/motions')
