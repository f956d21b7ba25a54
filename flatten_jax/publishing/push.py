# SPDX-License-Identifier: Apache-2.0
"""Pushes the model of a run to a folder or to the Hugging Face Hub."""

import logging
import os
import pathlib
import shutil
import tempfile

from flax import traverse_util
import jax
import numpy as np

import flatten_jax
from flatten_jax import hub, paths
from flatten_jax.checkpoints import model_folder
from flatten_jax.checkpoints.load import load_model
from flatten_jax.checkpoints.run_info import RunInfo
from flatten_jax.publishing import model_card
from flatten_jax.runtime import model_factory, portable
from flatten_jax.runtime.loaded_model import LoadedModel

log = logging.getLogger('flatten_jax')


def push(
  workdir: str | os.PathLike,
  to: str | os.PathLike,
  *,
  license: str = '',
  dataset: str = '',
  private: bool = False,
) -> str:
  """Pushes a trained model, with a card about it, for others to use.

  Writes three files: model.safetensors, the weights that the test evaluates,
  under their official PyTorch names; config.json, with class names, clips and
  recipe, and without paths; and README.md, the model card, which the run
  writes itself. `fj.load`, `fj.from_pretrained` and every mode take the result
  in place of a run, and give the same logits, to the bit.

  Args:
    workdir: of a training run; or the folder of a model, whose card is taken
      as it is, with what was written into it. It stays as it is.
    to: a folder; or a repository on the Hugging Face Hub, 'user/name' or
      'hf://user/name', which is created if needed. huggingface_hub finds the
      token. 'a/b' is a folder if there is a folder a.
    license: of the weights, as the Hub names it: 'apache-2.0', 'cc-by-4.0'.
      For a new card, as `dataset` is.
    dataset: name of the training data, for the card. By default that of a
      published set, if a config for one was used.
    private: creates a repository that others cannot see.

  Returns:
    The folder, or the address of the repository's page.

  Raises:
    FileNotFoundError: `workdir` contains no checkpoint.
    ValueError: the model or its layout is code of your own, `to` contains
      something else, which would be lost, or `workdir` has a card, which a
      license or a data set would not get into.
    OSError: the Hub refuses, or cannot be reached.
    RuntimeError: huggingface_hub is not installed.
  """
  if (license or dataset) and (card := _card_of(workdir)):
    raise ValueError(
      f'{card.parent} has a card, which is taken as it is: write the license '
      f'or the data set into the first lines of {card}.'
    )
  if address := hub.address_of(to):
    _check_address(address)
    with tempfile.TemporaryDirectory() as folder:
      made = pathlib.Path(folder)
      model = _write(workdir, made, address, license, dataset)
      return _upload(made, address, private, model)
  if private:
    raise ValueError(f'private is for a repository; {to} is a folder.')
  target = paths.expand(to).resolve()  # Not a link to a folder.
  _check_target(target, paths.expand(workdir).absolute())
  target.parent.mkdir(parents=True, exist_ok=True)
  new = target.with_name(f'.{target.name}.partial')
  shutil.rmtree(new, ignore_errors=True)  # Of an interrupted push.
  try:
    new.mkdir()
    _write(workdir, new, '', license, dataset)
    _replace(target, new)
  finally:
    shutil.rmtree(new, ignore_errors=True)
  log.info('%s contains %s', target, ', '.join(hub.FILES))
  return str(target)


def _write(
  workdir: str | os.PathLike,
  folder: pathlib.Path,
  address: str,
  license: str,
  dataset: str,
) -> LoadedModel:
  """Writes the files of a model, and reads them back."""
  model = load_model(workdir)
  info = RunInfo(model.class_names, model.config.to_dict())
  model_folder.write(
    folder,
    model.module,
    info,
    step=model.step,
    thresholds=model.thresholds,
  )
  _check_weights(model, folder)
  if there := _card_of(workdir):
    shutil.copyfile(there, folder / hub.CARD)  # Perhaps edited.
    return model
  card = model_card.text(
    model, workdir, address=address, license=license, dataset=dataset
  )
  # Class names may contain bytes that are not UTF-8.
  data = card.encode('utf-8', 'backslashreplace')
  (folder / hub.CARD).write_bytes(data)
  return model


def _card_of(workdir: str | os.PathLike) -> pathlib.Path | None:
  """Returns the card of a model that was pushed before; None of a run."""
  folder = paths.expand(workdir)
  card = folder / hub.CARD
  return card if portable.is_model(folder) and card.exists() else None


def _check_weights(model: LoadedModel, folder: pathlib.Path) -> None:
  """Raises RuntimeError if a reader would get other weights, by a bit."""
  found = model_folder.ModelFolder(folder).restore_weights(model.step)
  for tree in ('params', 'batch_stats'):
    ours, theirs = _by_name(getattr(model, tree)), _by_name(found[tree])
    if ours.keys() == theirs.keys() and all(
      np.array_equal(ours[name], theirs[name], equal_nan=True) for name in ours
    ):
      continue
    raise RuntimeError(
      f'{model.config.model.name} is read back with other weights than it was '
      'written with. This is a bug: please report it.'
    )


def _by_name(tree: dict) -> dict[str, np.ndarray]:
  """Returns the values of a tree, by their dotted names."""
  flat = traverse_util.flatten_dict(jax.device_get(tree))
  return {model_factory.dotted(path): value for path, value in flat.items()}


def _check_address(address: str) -> None:
  """Refuses a revision, and a missing library, before anything is computed."""
  repository, revision = hub.parse(address)
  if revision:
    raise ValueError(
      f'A push goes to the main branch of {repository}; got {address}. Give '
      f'the commit its name afterwards: hf repos tag create {repository} '
      f'{revision}'
    )
  hub.library()


def _check_target(target: pathlib.Path, workdir: pathlib.Path) -> None:
  """Refuses a folder whose content would be lost, and one in the workdir."""
  if target.resolve().is_relative_to(workdir.resolve()):
    raise ValueError(
      f'{target} is in the workdir, which a push leaves as it is. Name a '
      'folder next to it.'
    )
  if not target.exists() or (target.is_dir() and not any(target.iterdir())):
    return
  others = sorted(
    {path.name for path in target.iterdir()} - {*hub.FILES}
    if portable.is_model(target)
    else {target.name}
  )
  if others:
    raise ValueError(
      f'{target} is not a folder of {", ".join(hub.FILES)} alone, and would be '
      f'replaced ({", ".join(others[:5])}). Name a new folder.'
    )


def _replace(target: pathlib.Path, new: pathlib.Path) -> None:
  """Puts a folder in the place of another, which has the files of one push."""
  old = target.with_name(f'.{target.name}.old')
  shutil.rmtree(old, ignore_errors=True)
  if target.exists():
    target.rename(old)
  new.rename(target)
  shutil.rmtree(old, ignore_errors=True)


def _upload(
  folder: pathlib.Path, address: str, private: bool, model: LoadedModel
) -> str:
  """Uploads the files in one commit; returns the repository's page."""
  library = hub.library()
  api = library.HfApi(library_name=portable.LIBRARY)
  repository, _ = hub.parse(address)
  log.info('Uploading to %s/%s', api.endpoint, repository)
  with hub.friendly_errors(address):
    page = api.create_repo(
      repository, private=True if private else None, exist_ok=True
    )
    if private and not api.model_info(repository).private:
      raise ValueError(f'{page} is public: change that on its page first.')
    _refuse_other_models(api, repository)
    api.create_commit(
      repository,
      [
        library.CommitOperationAdd(name, str(folder / name))
        for name in hub.FILES
      ],
      commit_message=(
        f'{model.config.model.name} after step {model.step}, by '
        f'flatten_jax {flatten_jax.__version__}'
      ),
    )
  log.info('Its page is %s', page)
  return str(page)


def _refuse_other_models(api, repository: str) -> None:
  """Raises ValueError if a repository has a model of another library."""
  there = set(api.list_repo_files(repository))
  if not there & {hub.CONFIG, hub.WEIGHTS}:
    return
  if hub.CONFIG in there:
    with tempfile.TemporaryDirectory() as folder:
      api.hf_hub_download(repository, hub.CONFIG, local_dir=folder)
      if portable.is_model(pathlib.Path(folder)):
        return
  raise ValueError(
    f'{repository} contains a model that flatten_jax has not pushed, and would '
    'be replaced. Name another repository.'
  )
