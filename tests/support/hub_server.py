# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the Hugging Face Hub: what huggingface_hub asks of models.

Repositories are in memory. safetensors go through Git LFS, all else is in the
commit, as on the Hub.
"""

import base64
from collections.abc import Iterator
import contextlib
import dataclasses
import hashlib
import http.server
import json
import re
import threading
from typing import Any
import urllib.parse

OWNER = 'hf_ThisTokenIsNotReal0123456789'  # May write, and see what is private.


@dataclasses.dataclass
class Repository:
  """A repository: commits, by their hashes, are files, by their names."""

  private: bool = False
  commits: dict[str, dict[str, bytes]] = dataclasses.field(default_factory=dict)
  revisions: dict[str, str] = dataclasses.field(default_factory=dict)

  def commit(self, files: dict[str, bytes]) -> str:
    """Adds files to the main branch; returns the hash of the commit."""
    before = self.commits.get(self.revisions.get('main', ''), {})
    after = before | files
    text = repr((len(self.commits), sorted(after)))
    name = hashlib.sha1(text.encode()).hexdigest()
    self.commits[name] = after
    self.revisions['main'] = name
    return name


class Hub(http.server.ThreadingHTTPServer):
  """The server.

  Attributes:
    repositories: by 'user/name'.
    uploads: content of files by their SHA-256.
    tokens: that came with requests.
  """

  daemon_threads = True

  def __init__(self):
    super().__init__(('127.0.0.1', 0), _Handler)
    self.repositories: dict[str, Repository] = {}
    self.uploads: dict[str, bytes] = {}
    self.tokens: set[str] = set()

  @property
  def address(self) -> str:
    return f'http://127.0.0.1:{self.server_port}'


@contextlib.contextmanager
def running() -> Iterator[Hub]:
  """Yields a server that runs in a thread."""
  with Hub() as hub:
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    yield hub
    hub.shutdown()


class _Handler(http.server.BaseHTTPRequestHandler):
  protocol_version = 'HTTP/1.1'
  server: Hub

  def log_message(self, *_):
    pass

  def do_GET(self):
    self._answer(self._read)

  do_HEAD = do_GET

  def do_POST(self):
    self._answer(self._write)

  def do_PUT(self):
    self._answer(self._store)

  def _answer(self, method) -> None:
    length = int(self.headers.get('Content-Length', 0))
    self.body = self.rfile.read(length)
    self.token = self.headers.get('Authorization', '').removeprefix('Bearer ')
    if self.token:
      self.server.tokens.add(self.token)
    path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
    try:
      method(path)
    except KeyError:
      self._send(404, {'error': 'Not found'}, {'X-Error-Code': 'RepoNotFound'})

  def _send(self, status: int, content: Any, headers=()) -> None:
    is_file = isinstance(content, bytes)
    data = content if is_file else json.dumps(content).encode()
    self.send_response(status)
    for key, value in {'Content-Length': len(data), **dict(headers)}.items():
      self.send_header(key, str(value))
    self.end_headers()
    if self.command != 'HEAD':
      self.wfile.write(data)

  def _repository(self, name: str) -> Repository:
    """Returns a repository that this token may see."""
    found = self.server.repositories[name]
    if found.private and self.token != OWNER:
      raise KeyError(name)
    return found

  def _files(self, repository: str, revision: str):
    """Returns the hash and the files of a revision; None if it is unknown."""
    found = self._repository(repository)
    name = found.revisions.get(revision, revision)
    if name in found.commits:
      return name, found.commits[name]
    code = {'X-Error-Code': 'RevisionNotFound'}
    self._send(404, {'error': f'Invalid rev id: {revision}'}, code)
    return None

  def _read(self, path: str) -> None:
    if match := re.fullmatch(r'/([^/]+/[^/]+)/resolve/([^/]+)/(.+)', path):
      self._file(*match.groups())
    elif match := re.fullmatch(r'/api/models/([^/]+/[^/]+)/tree/(.+)', path):
      if found := self._files(*match.groups()):
        self._send(200, [_entry(*item) for item in found[1].items()])
    elif match := re.fullmatch(
      r'/api/models/([^/]+/[^/]+)(?:/revision/(.+))?', path
    ):
      self._information(match[1], match[2] or 'main')
    else:
      raise KeyError(path)

  def _file(self, repository: str, revision: str, name: str) -> None:
    if not (found := self._files(repository, revision)):
      return
    commit, files = found
    if name not in files:
      code = {'X-Error-Code': 'EntryNotFound', 'X-Repo-Commit': commit}
      self._send(404, {'error': 'Entry not found'}, code)
      return
    etag = hashlib.sha256(files[name]).hexdigest()
    headers = {'ETag': f'"{etag}"', 'X-Repo-Commit': commit}
    self._send(200, files[name], headers)

  def _information(self, repository: str, revision: str) -> None:
    found = self._repository(repository)
    about = {'_id': '1', 'id': repository, 'private': found.private}
    if not found.commits:
      self._send(200, about | {'sha': None, 'siblings': []})
    elif files := self._files(repository, revision):
      siblings = [{'rfilename': name} for name in files[1]]
      self._send(200, about | {'sha': files[0], 'siblings': siblings})

  def _write(self, path: str) -> None:
    if path == '/api/validate-yaml':
      self._send(200, {'errors': [], 'warnings': []})
    elif self.token != OWNER:
      self._send(401, {'error': 'Invalid username or password.'})
    elif path == '/api/repos/create':
      self._create(json.loads(self.body))
    elif match := re.fullmatch(r'/([^/]+/[^/]+)\.git/info/lfs/.*/batch', path):
      self._repository(match[1])
      self._batch(json.loads(self.body)['objects'])
    elif match := re.fullmatch(
      r'/api/models/([^/]+/[^/]+)/(preupload|commit)/main', path
    ):
      getattr(self, f'_{match[2]}')(match[1])
    else:
      raise KeyError(path)

  def _create(self, wanted: dict[str, Any]) -> None:
    name = f'{wanted["organization"]}/{wanted["name"]}'
    there = name in self.server.repositories
    if not there:
      private = wanted.get('visibility') == 'private' or wanted.get('private')
      repository = self.server.repositories[name] = Repository(bool(private))
      repository.commit({'.gitattributes': b''})
    url = {'url': f'{self.server.address}/{name}'}
    self._send(409 if there else 200, url)

  def _preupload(self, repository: str) -> None:
    self._repository(repository)
    answer = [
      {
        'path': file['path'],
        'uploadMode': 'lfs'
        if file['path'].endswith('.safetensors')
        else 'regular',
        'shouldIgnore': False,
      }
      for file in json.loads(self.body)['files']
    ]
    self._send(200, {'files': answer})

  def _batch(self, objects: list[dict[str, Any]]) -> None:
    answer = []
    for entry in objects:
      href = f'{self.server.address}/lfs/{entry["oid"]}'
      actions = {'actions': {'upload': {'href': href}}}
      answer.append(entry | actions)
    self._send(200, {'transfer': 'basic', 'objects': answer})

  def _store(self, path: str) -> None:
    name = path.rpartition('/')[2]
    assert hashlib.sha256(self.body).hexdigest() == name
    self.server.uploads[name] = self.body
    self._send(200, {})

  def _commit(self, repository: str) -> None:
    files = {}
    for line in self.body.splitlines():
      entry = json.loads(line)
      value = entry['value']
      if entry['key'] == 'file':
        files[value['path']] = base64.b64decode(value['content'])
      elif entry['key'] == 'lfsFile':
        files[value['path']] = self.server.uploads[value['oid']]
    name = self._repository(repository).commit(files)
    url = f'{self.server.address}/{repository}/commit/{name}'
    self._send(200, {'success': True, 'commitOid': name, 'commitUrl': url})


def _entry(name: str, data: bytes) -> dict[str, Any]:
  """Returns the entry of a file in a listing."""
  entry = {
    'type': 'file',
    'path': name,
    'size': len(data),
    'oid': hashlib.sha1(data).hexdigest(),
  }
  if name.endswith('.safetensors'):
    oid = hashlib.sha256(data).hexdigest()
    entry['lfs'] = {'oid': oid, 'size': len(data), 'pointerSize': 130}
  return entry
