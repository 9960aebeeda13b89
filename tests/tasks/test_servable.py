"""What must hold before a release is served or promoted: whatever was changed, it is refused and says why."""

from __future__ import annotations

import gc
import io
import json
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from onnx import TensorProto, helper
from small_release import LABELS, flip_a_bit, graph, make_release, seal
from spoilt_releases import SPOILT

from tasks import servable
from tasks.errors import ReleaseError
from tasks.opened_release import OpenedRelease, golden_faults
from tasks.release import QUALIFICATION, SIGNATURE, manifest_sha256
from tasks.reports.qualification import Check, Qualification
from tasks.reports.release_parts import GoldenCases
from tasks.servable import open_servable
from tasks.signatures import signature_of


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("servable") / "release")


@pytest.fixture
def release(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path.resolve() / "release"))


def test_a_sound_release_is_opened_with_its_card_and_digest(release: Path) -> None:
    found = open_servable(release, manifest_sha256(release))
    assert found.digest == manifest_sha256(release)
    assert found.manifest.name == "made-up"
    assert found.card.startswith("# made-up")
    assert found.opened.labels == list(LABELS)


@pytest.mark.parametrize(("spoil", "reason"), SPOILT)
def test_a_bad_release_is_refused_for_its_fault(release: Path, spoil: Callable[[Path], object], reason: str) -> None:
    spoil(release)
    with pytest.raises(ReleaseError, match=reason):
        open_servable(release)


def test_every_single_bit_of_the_model_counts(release: Path) -> None:
    whole = (release / "model.onnx").read_bytes()
    for bit in np.random.default_rng(0).integers(0, 8 * len(whole), 60):
        flip_a_bit(release, int(bit))
        with pytest.raises(ReleaseError, match=r"model\.onnx was altered or truncated"):
            open_servable(release)
        (release / "model.onnx").write_bytes(whole)
    assert open_servable(release)


def _save(release: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    model = graph(0, len(LABELS))
    change(model)
    onnx.save(model, release / "model.onnx")
    seal(release)


def without(output: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        (found,) = [one for one in model.graph.output if one.name == output]
        model.graph.output.remove(found)

    return change


def real_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def wide_logits(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Concat", ["sound", "sound"], ["logits"], axis=1))
    for node in model.graph.node:
        if node.op_type == "MatMul":
            node.output[0] = "sound"
        if node.op_type == "Softmax":
            node.input[0] = "sound"
    next(one for one in model.graph.output if one.name == "logits").type.tensor_type.shape.dim[1].dim_value = 6


def endless_embedding(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "ReduceMean":
            node.output[0] = "mean"
        if node.op_type == "MatMul":
            node.input[0] = "mean"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0), "nought"))
    model.graph.node.append(helper.make_node("Div", ["mean", "nought"], ["embedding"]))


def sorted_nodes(change: Callable[[onnx.ModelProto], None]) -> Callable[[onnx.ModelProto], None]:
    """ONNX Runtime wants each node after those that it depends on."""

    def changed(model: onnx.ModelProto) -> None:
        change(model)
        nodes, known, ordered = list(model.graph.node), {"image"} | {one.name for one in model.graph.initializer}, []
        while nodes:
            ready = next(node for node in nodes if set(node.input) <= known)
            nodes.remove(ready)
            ordered.append(ready)
            known |= set(ready.output)
        del model.graph.node[:]
        model.graph.node.extend(ordered)

    return changed


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without("embedding"), "does not give probabilities, logits, embedding"),
        (without("logits"), "does not give probabilities, logits, embedding"),
        (without("probabilities"), "gives `probabilities` None"),
        (real_input, "cannot answer its golden files"),
        (sorted_nodes(wide_logits), r"gives `logits` as float32 \(2, 6\), not \(2, 3\)"),
        (sorted_nodes(endless_embedding), "gives `embedding` that is not finite"),
    ],
)
def test_a_graph_that_lacks_what_servers_give_is_refused(
    release: Path, change: Callable[[onnx.ModelProto], None], reason: str
) -> None:
    _save(release, change)
    with pytest.raises(ReleaseError, match=reason):
        open_servable(release)


def golden(release: Path, **changes: object) -> None:
    file = release / "golden" / "golden.json"
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, **changes}))


@pytest.mark.parametrize("tolerance", [1.0, 1e9, float("inf"), float("nan"), -1.0])
def test_golden_files_that_would_prove_nothing_are_no_proof(release: Path, tolerance: float) -> None:
    golden(release, tolerance=tolerance)
    seal(release)
    with pytest.raises(ReleaseError, match=r"golden\.json allows a difference of"):
        open_servable(release)


@pytest.mark.parametrize("name", ["../../qualification.json", "/etc/hostname", "nowhere.png", "golden.json"])
def test_golden_files_are_files_of_the_release(release: Path, name: str) -> None:
    cases = GoldenCases.read(release / "golden" / "golden.json").cases
    changed = [one.model_copy(update={"file": name}).model_dump() for one in cases]
    golden(release, cases=changed)
    seal(release)
    with pytest.raises(ReleaseError, match="cannot answer its golden files"):
        open_servable(release)


@pytest.mark.parametrize("probabilities", [[], [1.0], [0.5, 0.5], [float("nan")] * 3])
def test_golden_answers_are_one_for_each_class(release: Path, probabilities: list[float]) -> None:
    cases = GoldenCases.read(release / "golden" / "golden.json").cases
    golden(release, cases=[one.model_copy(update={"probabilities": probabilities}).model_dump() for one in cases])
    seal(release)
    with pytest.raises(ReleaseError, match="does not answer its golden files"):
        open_servable(release)


def test_what_was_checked_is_what_is_opened(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is replaced after its sha256 was taken changes no answer, and one replaced before is refused."""
    image = np.full((1, 32, 32, 3), 90, np.uint8)
    expected = OpenedRelease(release).answers(image, 1)
    other = make_release(release.parent / "other", seed=9)
    qualified = servable._check_qualified

    def replacing(*arguments: Path) -> str:
        for name in ("model.onnx", "labels.json", "preprocess.json", "golden/golden.json"):
            shutil.copy(other / name, release / name)
        return qualified(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(servable, "_check_qualified", replacing)
    np.testing.assert_array_equal(open_servable(release).opened.answers(image, 1), expected)
    with pytest.raises(ReleaseError, match="altered or truncated"):
        open_servable(release)


def test_a_file_replaced_between_both_readings_is_noticed(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verify = servable.verify_release

    def replacing(folder: Path, beside: tuple[str, ...] = ()) -> object:
        found = verify(folder, beside)
        flip_a_bit(folder)
        return found

    monkeypatch.setattr(servable, "verify_release", replacing)
    with pytest.raises(ReleaseError, match="was changed while it was read"):
        open_servable(release)


def test_only_a_qualified_release_is_opened(release: Path, tmp_path: Path) -> None:
    kept = release / "qualification.json"
    beside = Path(shutil.move(kept, tmp_path / "qualification.json"))
    with pytest.raises(ReleaseError, match=r"qualification\.json cannot be read"):
        open_servable(release)
    assert open_servable(release, qualification=beside)
    checks = [Check(check="parity", passed=False, detail="3 top-1 flips")]
    Qualification(passed=False, manifest_sha256=manifest_sha256(release), checks=checks).write(kept)
    with pytest.raises(ReleaseError, match="is not qualified: parity: 3 top-1 flips"):
        open_servable(release)
    Qualification(passed=True, manifest_sha256="0" * 64, checks=[]).write(kept)
    with pytest.raises(ReleaseError, match="is of another release"):
        open_servable(release)


def test_a_release_of_another_digest_than_asked_for_is_refused(release: Path) -> None:
    with pytest.raises(ReleaseError, match="holds another release"):
        open_servable(release, "0" * 64)


def test_a_file_that_cannot_be_read_is_a_refusal_and_no_crash(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes

    def failing(path: Path) -> bytes:
        if path.name == "labels.json":
            raise OSError(5, "Input/output error")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    with pytest.raises(ReleaseError, match=r"cannot be read: .*Input/output error"):
        open_servable(release)


def test_a_model_that_is_no_protobuf_though_its_digest_holds_is_refused(release: Path) -> None:
    (release / "model.onnx").write_bytes(io.BytesIO(b"\x08junk").getvalue())
    seal(release)
    with pytest.raises(ReleaseError, match="is no graph that ONNX Runtime can open"):
        open_servable(release)


def test_golden_faults_name_each_file(release: Path) -> None:
    file = release / "golden" / "golden.json"
    cases = GoldenCases.read(file)
    cases.model_copy(
        update={"cases": [one.model_copy(update={"preprocessed_sha256": "0" * 64}) for one in cases.cases]}
    ).write(file)
    assert golden_faults(OpenedRelease(release)) == [
        f"{one.file} is preprocessed to other pixels" for one in cases.cases
    ]


def test_an_opened_release_keeps_no_copy_of_its_files(release: Path) -> None:
    (release / "golden" / "unused.bin").write_bytes(bytes(20_000_000))
    seal(release)
    tracemalloc.start()
    try:
        found = open_servable(release)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.manifest.files["golden/unused.bin"]
    assert held < 10_000_000


def test_a_signed_release_that_takes_another_ones_place_while_it_is_checked_vouches_for_nothing(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    signed = make_release(tmp_path / "signed", seed=3)
    (signed / SIGNATURE).write_bytes(signature_of(signed, key))
    qualified = servable._check_qualified

    def replacing(*arguments: Path) -> str:
        judged = qualified(*arguments)  # type: ignore[arg-type]
        shutil.rmtree(release)
        shutil.copytree(signed, release)
        return judged

    with monkeypatch.context() as patch:
        patch.setattr(servable, "_check_qualified", replacing)
        with pytest.raises(ReleaseError, match="was changed while it was read"):
            open_servable(release, verify_key=trusted)
    assert open_servable(release, verify_key=trusted).digest == manifest_sha256(signed)


def test_a_qualification_that_was_there_for_a_moment_is_not_taken_for_the_signed_one(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (release / SIGNATURE).write_bytes(signature_of(release, key))
    file, qualified = release / QUALIFICATION, servable._check_qualified
    signed = file.read_bytes()

    def lent(*arguments: Path) -> str:
        file.write_bytes(signed + b"\n")
        judged = qualified(*arguments)  # type: ignore[arg-type]
        file.write_bytes(signed)
        return judged

    with monkeypatch.context() as patch:
        patch.setattr(servable, "_check_qualified", lent)
        with pytest.raises(ReleaseError, match="was changed while it was read"):
            open_servable(release, verify_key=trusted)
    assert open_servable(release, verify_key=trusted)
