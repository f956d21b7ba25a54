# SPDX-License-Identifier: Apache-2.0
"""Writes prepared sets in the format of TFDS: features, records, metadata.

`tfds.builder_from_directory(folder).as_data_source(split)` reads the result.
TFDS's own `download_and_prepare` is not used: it needs TensorFlow for sets
larger than memory, and starts over when it was interrupted.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import os
import pathlib

from array_record.python.array_record_module import ArrayRecordWriter
import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import (
  dataset_info,
  example_serializer,
  file_adapters,
  naming,
  splits,
)

from data.annotations import DataSet
from flatten_jax.paths import replacing

VERSION = '1.0.0'
FORMAT = file_adapters.FileFormat.ARRAY_RECORD
# Allows random access. Videos are compressed already: without this, zstd takes
# five times the CPU time and saves nothing.
WRITER_OPTIONS = 'group_size:1,uncompressed'


def features(
  class_names: Sequence[str], num_roles: int = 0, multi_label: bool = False
) -> tfds.features.FeaturesDict:
  """Returns the fields of a record; see `data/README.md`."""
  text = tfds.features.Text
  label = tfds.features.ClassLabel(
    names=list(class_names), doc='-1: not published.'
  )
  several = tfds.features.Sequence(label, doc='All classes of the video.')
  fields = {
    'id': text(doc='Id in the annotations.'),
    'file': text(doc='Name of the file, with its suffix.'),
    'video': text(doc='The bytes of the file.'),
    **({'labels': several} if multi_label else {'label': label}),
    'start': tfds.features.Scalar(np.float32, doc='Seconds.'),
    'end': tfds.features.Scalar(np.float32, doc='Seconds; 0: to the end.'),
  }
  if num_roles:
    fields['roles'] = tfds.features.Tensor(
      shape=(num_roles,),
      dtype=np.uint8,
      doc='In each published split: 0 unused, 1 train, 2 test.',
    )
  return tfds.features.FeaturesDict(fields)


@contextlib.contextmanager
def writing(path: str) -> Iterator[ArrayRecordWriter]:
  """Yields a writer of a file, which appears when it is complete."""
  # Two machines may write the same file; both results are the same.
  with (
    replacing(pathlib.Path(path)) as partial,
    contextlib.closing(
      ArrayRecordWriter(os.fspath(partial), WRITER_OPTIONS)
    ) as writer,
  ):
    yield writer


class RecordWriter:
  """Writes the records of one shard."""

  def __init__(
    self, writer: ArrayRecordWriter, spec: tfds.features.FeaturesDict
  ):
    self._writer = writer
    self._spec = spec
    self._serializer = example_serializer.ExampleSerializer(
      spec.get_serialized_info()
    )

  def write(self, example: Mapping) -> int:
    """Appends a record and returns its size in bytes."""
    encoded = self._spec.encode_example(example)
    # Otherwise the order of fields differs between processes.
    proto = self._serializer.get_tf_example(encoded)
    record = proto.SerializeToString(deterministic=True)
    self._writer.write(record)
    return len(record)


def shard_path(
  out: str | os.PathLike, name: str, split: str, number: int, count: int
) -> str:
  """Returns TFDS's path of a shard."""
  template = file_template(out, name, split)
  path = template.sharded_filepath(shard_index=number, num_shards=count)
  return os.fspath(path)


def file_template(
  out: str | os.PathLike, name: str, split: str
) -> naming.ShardedFileTemplate:
  """Returns TFDS's names for the shards of a split."""
  return naming.ShardedFileTemplate(
    dataset_name=name,
    data_dir=tfds.core.Path(out),
    split=split,
    filetype_suffix=FORMAT.file_suffix,
  )


def write_metadata(
  out: str | os.PathLike,
  data_set: DataSet,
  spec: tfds.features.FeaturesDict,
  lengths: Mapping[str, Sequence[int]],
  sizes: Mapping[str, int],
) -> None:
  """Writes the metadata that TFDS needs besides the shards.

  Args:
    out: the folder.
    data_set: its description.
    spec: the features.
    lengths: number of records of each shard, by split.
    sizes: bytes of all records, by split.
  """
  identity = dataset_info.DatasetIdentity(
    name=data_set.name,
    version=VERSION,
    data_dir=os.fspath(out),
    module_name='data.prepare',
  )
  info = tfds.core.DatasetInfo(
    builder=identity,
    features=spec,
    description=data_set.published.description,
    homepage=data_set.published.homepage,
    citation=data_set.citation,
  )
  info.set_file_format(FORMAT)
  info.set_splits(
    splits.SplitDict(
      splits.SplitInfo(
        name=split,
        shard_lengths=list(lengths[split]),
        num_bytes=sizes[split],
        filename_template=file_template(out, data_set.name, split),
      )
      for split in lengths
    )
  )
  info.write_to_directory(out)
