"""The Triton model repository: read as Triton reads it, true to the graph, never half there."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest
from small_release import make_release, photo

import tasks.triton_repository as module
from tasks.digests import file_sha256
from tasks.errors import ReleaseError, UserError
from tasks.servable import Servable, open_servable
from tasks.triton_repository import export_to_triton, model_name


@cache
def model_config_pb2() -> ModuleType:
    """Triton's own schema of config.pbtxt; the file alone, since its package wants gRPC."""
    package = importlib.util.find_spec("tritonclient")
    assert package is not None, "tritonclient is one of the dev requirements"
    assert package.submodule_search_locations
    file = Path(package.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", file)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def config_of(folder: Path) -> Any:
    """config.pbtxt by Triton's schema: an unknown field or value is an error."""
    from google.protobuf import text_format

    return text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2().ModelConfig())


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Servable:
    return open_servable(make_release(tmp_path_factory.mktemp("triton") / "release"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Servable:
    """Another model of the same name, of one class more."""
    labels = ("ember", "meadow", "ocean", "steel")
    return open_servable(make_release(tmp_path_factory.mktemp("triton") / "release", 1, labels))


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_model_is_the_releases_byte_for_byte(release: Servable, tmp_path: Path) -> None:
    done = export_to_triton(release, tmp_path / "models", 3)
    folder = tmp_path / "models" / "made-up"
    assert sorted(files_below(tmp_path / "models")) == [
        "made-up/3/labels.txt",
        "made-up/3/model.onnx",
        "made-up/3/preprocess.json",
        "made-up/config.pbtxt",
    ]
    assert file_sha256(folder / "3" / "model.onnx") == release.manifest.files["model.onnx"] == done.model_sha256
    assert (folder / "3" / "preprocess.json").read_bytes() == (release.opened.folder / "preprocess.json").read_bytes()
    assert (done.state, done.folder, done.version, done.release) == ("written", str(folder), 3, release.digest)


def test_the_configuration_is_triton_s_and_true_to_the_graph(release: Servable, tmp_path: Path) -> None:
    export_to_triton(release, tmp_path, 3, max_batch=16, instances=2)
    folder, pb2 = tmp_path / "made-up", model_config_pb2()
    config = config_of(folder)
    assert (config.name, config.platform, config.backend) == ("made-up", "onnxruntime_onnx", "onnxruntime")
    assert config.name == folder.name, "or Triton refuses it"
    session = onnxruntime.InferenceSession(folder / "3" / config.default_model_filename)
    types = {"tensor(uint8)": pb2.TYPE_UINT8, "tensor(float)": pb2.TYPE_FP32}
    for told, parts in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        assert [(one.name, one.data_type, list(one.dims)) for one in told] == [
            (part.name, types[part.type], part.shape[1:]) for part in parts
        ]
        assert all(isinstance(part.shape[0], str) for part in parts), "the batch, which Triton does not list"
    assert [one.format for one in config.input] == [pb2.ModelInput.FORMAT_NHWC]
    assert config.max_batch_size == 16
    assert list(config.version_policy.specific.versions) == [3]
    assert not config.HasField("dynamic_batching")
    assert [(group.count, group.kind) for group in config.instance_group] == [(2, pb2.ModelInstanceGroup.KIND_CPU)]
    words = {key: value.string_value for key, value in config.parameters.items()}
    assert words["intra_op_thread_count"] == words["inter_op_thread_count"] == "1"
    assert words["graft_release"] == release.digest


def test_the_warm_up_is_a_request_that_the_graph_answers(release: Servable, tmp_path: Path) -> None:
    export_to_triton(release, tmp_path, 1)
    (warm_up,) = config_of(tmp_path / "made-up").model_warmup
    (name,) = warm_up.inputs
    assert warm_up.inputs[name].zero_data
    image = np.zeros((warm_up.batch_size, *warm_up.inputs[name].dims), dtype=np.uint8)
    session = onnxruntime.InferenceSession(tmp_path / "made-up" / "1" / "model.onnx")
    assert np.isfinite(session.run(["probabilities"], {name: image})[0]).all()


def test_labels_stand_in_the_order_of_the_outputs(release: Servable, other: Servable, tmp_path: Path) -> None:
    export_to_triton(other, tmp_path, 2)
    config = config_of(tmp_path / "made-up")
    named = {one.name: one.label_filename for one in config.output}
    assert named == {"logits": "2/labels.txt", "probabilities": "2/labels.txt", "embedding": ""}
    lines = (tmp_path / "made-up" / named["probabilities"]).read_text().splitlines()
    assert lines == other.opened.labels
    image = other.opened.preprocess.prepare(photo(4))
    assert len(lines) == len(other.opened.answer(image))


def test_the_same_again_changes_nothing(release: Servable, tmp_path: Path) -> None:
    export_to_triton(release, tmp_path, 1)
    before = {path: path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))}
    assert export_to_triton(release, tmp_path, 1).state == "unchanged"
    assert {path: path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))} == before


def test_another_version_is_served_and_an_earlier_one_can_be_again(
    release: Servable, other: Servable, tmp_path: Path
) -> None:
    export_to_triton(release, tmp_path, 1)
    first = files_below(tmp_path)
    export_to_triton(other, tmp_path, 2)
    second = files_below(tmp_path)
    assert {name: second[name] for name in first if "/1/" in name} == {
        name: data for name, data in first.items() if "/1/" in name
    }
    config = config_of(tmp_path / "made-up")
    assert list(config.version_policy.specific.versions) == [2]
    assert list(config.output[1].dims) == [4]
    assert export_to_triton(release, tmp_path, 1).state == "written"
    assert files_below(tmp_path) == {**second, "made-up/config.pbtxt": first["made-up/config.pbtxt"]}


def test_a_version_that_is_another_model_is_never_overwritten(
    release: Servable, other: Servable, tmp_path: Path
) -> None:
    export_to_triton(release, tmp_path, 1)
    before = files_below(tmp_path)
    with pytest.raises(UserError, match=r"made-up/1 holds another model \(.*model.onnx.* differ\)"):
        export_to_triton(other, tmp_path, 1)
    (tmp_path / "made-up" / "1" / "more.bin").touch()
    with pytest.raises(UserError, match=r"made-up/1 holds another model \(other files differ\)"):
        export_to_triton(release, tmp_path, 1)
    (tmp_path / "made-up" / "1" / "more.bin").unlink()
    assert files_below(tmp_path) == before


def test_a_model_of_somebody_else_is_left_alone(release: Servable, tmp_path: Path) -> None:
    (tmp_path / "made-up").mkdir()
    (tmp_path / "made-up" / "config.pbtxt").write_text('name: "made-up"\n')
    with pytest.raises(UserError, match="was not written by graft export"):
        export_to_triton(release, tmp_path, 1)
    assert files_below(tmp_path) == {"made-up/config.pbtxt": b'name: "made-up"\n'}


def test_an_interrupted_export_leaves_no_half_of_a_version(
    release: Servable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(BaseException):
        pass

    def die(path: Path, data: bytes) -> None:
        if path.name == "labels.txt":
            raise Stopped
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    with monkeypatch.context() as patched:
        patched.setattr(module, "write_bytes", die)
        patched.setattr(module.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(Stopped):
            export_to_triton(release, tmp_path, 1)
    folder = tmp_path / "made-up"
    assert not (folder / "1").exists()
    assert list(folder.glob(".incoming-*")), "as a killed process leaves it"
    export_to_triton(release, tmp_path, 1)
    assert sorted(path.name for path in folder.iterdir()) == ["1", "config.pbtxt"]


def test_a_release_that_changed_since_it_was_checked_is_refused(tmp_path: Path) -> None:
    release = open_servable(make_release(tmp_path / "release"))
    (tmp_path / "release" / "model.onnx").write_bytes(b"another")
    with pytest.raises(ReleaseError, match="was changed after the release was checked"):
        export_to_triton(release, tmp_path / "models", 1)
    assert not (tmp_path / "models").exists()


def test_a_folder_that_cannot_be_is_named(release: Servable, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no folder .*none; make it"):
        export_to_triton(release, tmp_path / "none" / "models", 1)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file cannot be a folder of models"):
        export_to_triton(release, tmp_path / "file", 1)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("image-classifier", "image-classifier"), ("Katzen & Hunde", "Katzen_Hunde"), ("../up", "up"), ("日本", "model")],
)
def test_a_name_becomes_one_that_a_folder_and_an_address_can_bear(name: str, wanted: str) -> None:
    assert model_name(name) == wanted


def test_the_real_schema_finds_a_wrong_field(tmp_path: Path) -> None:
    from google.protobuf import text_format

    (tmp_path / "config.pbtxt").write_text('name: "x"\nmax_batch: 4\n')
    with pytest.raises(text_format.ParseError, match="max_batch"):
        config_of(tmp_path)
