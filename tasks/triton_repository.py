"""A model repository for the Triton inference server, from a release's own ONNX file.

    REPOSITORY/NAME/config.pbtxt        names the one version that is served
    REPOSITORY/NAME/VERSION/model.onnx  the release's, byte for byte
                            labels.txt  for Triton's classification extension
                            preprocess.json  what clients must do to an image before they send it

A version's folder is complete or absent and never changed; config.pbtxt is replaced as a whole, and last.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from tasks.digests import bytes_sha256
from tasks.errors import ReleaseError, UserError
from tasks.reports.document import Report, write_bytes
from tasks.servable import Servable

CONFIG, MODEL, LABELS, PREPROCESS = "config.pbtxt", "model.onnx", "labels.txt", "preprocess.json"
WRITTEN_BY = "# Written by `graft export --format triton`"

_INCOMING = ".incoming-"
_LABELLED = ("probabilities", "logits")
_TYPES = {
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
}


class TritonExport(Report):
    """What `graft export --format triton` did; unchanged where all was there already."""

    state: Literal["written", "unchanged"]
    folder: str
    model: str
    version: int
    release: str
    model_sha256: str


def export_to_triton(
    servable: Servable, repository: Path, version: int, max_batch: int = 64, instances: int = 1
) -> TritonExport:
    """Write a checked release as one version of a model, and have that version served.

    Args:
        repository: made where it is missing, in a folder that is there.
        version: the version's folder; 1 or more.
        max_batch: most images in one request.
        instances: of the model in one Triton, each of one thread.
    Raises:
        UserError: the repository cannot be written, or holds another model of that name or version.
        ReleaseError: the release changed since it was checked, or a label breaks a line.
    """
    name = model_name(servable.manifest.name)
    files = _version_files(servable)
    config = config_text(servable, name, version, max_batch, instances).encode()
    folder = repository / name
    _make(repository)
    _make(folder)
    with _locked(folder):
        _check_config(folder / CONFIG)
        there = _check_version(folder / str(version), files)
        same = there and (folder / CONFIG).is_file() and (folder / CONFIG).read_bytes() == config
        if not (folder / CONFIG).exists():
            # First, so that a Triton that polls never loads a version under a configuration that it made up itself.
            write_bytes(folder / CONFIG, config)
        if not there:
            _put(folder / str(version), files)
        if not same:
            write_bytes(folder / CONFIG, config)
    return TritonExport(
        state="unchanged" if same else "written",
        folder=str(folder),
        model=name,
        version=version,
        release=servable.digest,
        model_sha256=bytes_sha256(files[MODEL]),
    )


def model_name(name: str) -> str:
    """A release's name as Triton and its URLs can bear it.

    >>> model_name("cats & dogs"), model_name("v2.0")
    ('cats_dogs', 'v2.0')
    """
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("._-") or "model"


def config_text(servable: Servable, name: str, version: int, max_batch: int, instances: int) -> str:
    """config.pbtxt: names, types and shapes as the session tells them.

    Inputs and outputs are named in full, so Triton completes nothing by itself. There is no dynamic_batching: on a
    processor, in one thread, a batch of many requests takes as long as they take one after the other, and the first
    waits for the last.
    """
    session = servable.opened.session
    crop = servable.opened.preprocess.crop
    inputs = ",\n".join(_tensor(part, {"format": "FORMAT_NHWC"}) for part in session.get_inputs())
    outputs = ",\n".join(
        _tensor(part, {"label_filename": _quoted(f"{version}/{LABELS}")} if part.name in _LABELLED else {})
        for part in session.get_outputs()
    )
    words = {
        "intra_op_thread_count": "1",
        "inter_op_thread_count": "1",
        "graft_release": servable.digest,
        "graft_version": str(version),
    }
    parameters = "\n".join(
        f"parameters {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}"
        for key, value in words.items()
    )
    return f"""{WRITTEN_BY}. Exporting another version, or an earlier one again, names that one here.
name: {_quoted(name)}
platform: "onnxruntime_onnx"
backend: "onnxruntime"
default_model_filename: {_quoted(MODEL)}
max_batch_size: {max_batch}
version_policy {{ specific {{ versions: [ {version} ] }} }}
input [
{inputs}
]
output [
{outputs}
]
instance_group [ {{ count: {instances} kind: KIND_CPU }} ]
model_warmup [
  {{
    name: "black"
    batch_size: 1
    inputs {{
      key: "image"
      value {{ data_type: TYPE_UINT8 dims: [ {crop}, {crop}, 3 ] zero_data: true }}
    }}
  }}
]
{parameters}
"""


def _tensor(part: Any, more: Mapping[str, str]) -> str:
    """One input or output; the first dimension is the batch, which Triton does not list."""
    if part.type not in _TYPES:
        raise ReleaseError(f"the graph's {part.name} is {part.type}; Triton's types here are {', '.join(_TYPES)}")
    dims = ", ".join(str(size) if isinstance(size, int) else "-1" for size in part.shape[1:])
    fields = {"name": _quoted(part.name), "data_type": _TYPES[part.type], "dims": f"[ {dims} ]", **more}
    lines = "\n".join(f"    {key}: {value}" for key, value in fields.items())
    return f"  {{\n{lines}\n  }}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _version_files(servable: Servable) -> dict[str, bytes]:
    """The version folder's files: the model and the preprocessing as their sha256 was checked.

    Raises:
        ReleaseError: a file changed since, or a label holds a line break.
    """
    folder, labels = servable.opened.folder, servable.opened.labels
    broken = [label for label in labels if "\n" in label or "\r" in label]
    if broken:
        raise ReleaseError(f"the label {broken[0]!r} breaks a line, and {LABELS} has one label a line")
    files = {}
    for name in (MODEL, PREPROCESS):
        try:
            files[name] = (folder / name).read_bytes()
        except OSError as err:
            raise ReleaseError(f"{folder / name} cannot be read ({err.strerror})") from err
        if bytes_sha256(files[name]) != servable.manifest.files.get(name):
            raise ReleaseError(f"{folder / name} was changed after the release was checked")
    return {**files, LABELS: "".join(f"{label}\n" for label in labels).encode()}


def _make(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except FileNotFoundError as err:
        raise UserError(f"there is no folder {folder.parent}; make it (mkdir -p {folder.parent})") from err
    except OSError as err:
        raise UserError(f"{folder} cannot be a folder of models ({err.strerror}); name another folder") from err


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One export at a time; what an interrupted one left is then of nobody who lives."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for left in folder.glob(f"{_INCOMING}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_config(config: Path) -> None:
    if os.path.lexists(config) and not (config.is_file() and config.read_bytes().startswith(WRITTEN_BY.encode())):
        raise UserError(f"{config} was not written by graft export; name another folder, or move that model away")


def _check_version(folder: Path, files: Mapping[str, bytes]) -> bool:
    """Whether the version is there already, the same to the byte."""
    if not os.path.lexists(folder):
        return False
    try:
        present = {path.name: path.read_bytes() for path in folder.iterdir()}
    except OSError as err:
        raise UserError(f"{folder} cannot be read ({err.strerror}); name another folder") from err
    differing = sorted(
        name
        for name in {*files, *present}
        if bytes_sha256(files.get(name, b"")) != bytes_sha256(present.get(name, b""))
    )
    if differing or present.keys() != files.keys():
        raise UserError(
            f"{folder} holds another model ({', '.join(differing) or 'other files'} differ), and a version is never "
            "overwritten; name another folder, or move it away"
        )
    return True


def _put(folder: Path, files: Mapping[str, bytes]) -> None:
    incoming = folder.with_name(f"{_INCOMING}{uuid.uuid4().hex}")
    try:
        for name, data in files.items():
            write_bytes(incoming / name, data)
        incoming.rename(folder)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
