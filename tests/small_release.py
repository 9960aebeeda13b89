"""Whole releases made in code, without training: a few ONNX nodes, golden answers, a manifest and a qualification.

`make_release` gives one that may be served; the functions below it spoil one, each in its own way.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from PIL import Image

from tasks.digests import file_sha256
from tasks.golden import golden_files
from tasks.opened_release import OpenedRelease, golden_cases
from tasks.preprocess import Preprocess
from tasks.release import MANIFEST, QUALIFICATION, manifest_sha256
from tasks.reports import JudgedDigests, Verdict, write_bytes
from tasks.reports.comparison import ChampionVerdict
from tasks.reports.estimate import Estimate
from tasks.reports.manifest import Manifest, ReleaseMetrics, SourceDigests
from tasks.reports.qualification import Check, Qualification
from tasks.reports.release_parts import Labels
from tasks.reports.verdict import RuleVerdict

LABELS = ("ember", "meadow", "ocean")
CROP = 32
WIDTH = 8
GOLDEN = 3
"""Golden files in such a release, of the nine of a real one."""


def estimate(value: float) -> Estimate:
    return Estimate(value=value, low=value - 0.05, high=min(1.0, value + 0.04), method="wilson")


def make_release(
    folder: Path,
    seed: int = 0,
    labels: Sequence[str] = LABELS,
    crop: int = CROP,
    convolutions: int = 1,
    **verdict: Any,
) -> Path:
    """A qualified release in `folder` (which must not exist), its qualification beside the manifest as in a store.

    Args:
        seed: of the weights; another seed, another release that answers otherwise.
        crop: pixels a side of the prepared image.
        convolutions: 3x3 ones in a row; 1 answers in some 0.1 ms, each further one makes the model dearer.
        verdict: fields of the champion's verdict.
    """
    (folder / "golden").mkdir(parents=True)
    onnx.save(graph(seed, len(labels), crop, convolutions), folder / "model.onnx")
    preprocess = Preprocess(resize=crop, crop=crop, mean=(0.0,) * 3, std=(1.0,) * 3)
    write_bytes(folder / "preprocess.json", preprocess.model_dump_json().encode())
    Labels(labels=list(labels)).write(folder / "labels.json")
    (folder / "model_card.md").write_text(f"# made-up\n\nA release made in code, seed {seed}.\n", encoding="utf-8")
    files = [Path(shutil.copy(file, folder / "golden")) for file in golden_files()[:GOLDEN]]
    golden_cases(OpenedRelease(folder), files).write(folder / "golden" / "golden.json")
    seal(folder, seed, **verdict)
    return folder


def graph(seed: int, classes: int, crop: int = CROP, convolutions: int = 1, nan_on: int | None = None) -> Any:
    """uint8 NHWC `image` to `logits`, `probabilities` and `embedding`, by its colours.

    Args:
        nan_on: an image whose darkest value is that or more is answered NaN (255: a white one, 0: every one).
    """
    numbers = np.random.default_rng(seed)
    constants = {"scale": np.float32(1 / 255), "shift": np.float32(-0.5), "rows": np.array([2, 3], dtype=np.int64)}
    nodes = [
        helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["real", "scale"], ["bright"]),
        helper.make_node("Add", ["bright", "shift"], ["layer0"]),
    ]
    for place in range(convolutions):
        inside = WIDTH if place else 3
        constants[f"kernel{place}"] = numbers.normal(size=(WIDTH, inside, 3, 3)).astype(np.float32) / inside**0.5
        nodes.append(
            helper.make_node("Conv", [f"layer{place}", f"kernel{place}"], [f"layer{place + 1}"], pads=[1, 1, 1, 1])
        )
    constants["weights"] = (8 * numbers.normal(size=(WIDTH, classes))).astype(np.float32)
    nodes += [
        helper.make_node("ReduceMean", [f"layer{convolutions}", "rows"], ["embedding"], keepdims=0),
        helper.make_node("MatMul", ["embedding", "weights"], ["sound" if nan_on is not None else "logits"]),
    ]
    if nan_on is not None:
        constants |= {"nan": np.float32(np.nan), "level": np.float32(nan_on), "sides": np.array([1, 2, 3])}
        nodes += _nan_nodes()
    nodes.append(helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1))
    widths = {"logits": classes, "probabilities": classes, "embedding": WIDTH}
    parts = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", crop, crop, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width]) for name, width in widths.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(parts, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    return model


def _nan_nodes() -> list[NodeProto]:
    return [
        helper.make_node("ReduceMin", ["real", "sides"], ["darkest4"], keepdims=1),
        helper.make_node("Flatten", ["darkest4"], ["darkest"]),
        helper.make_node("GreaterOrEqual", ["darkest", "level"], ["spoilt"]),
        helper.make_node("Where", ["spoilt", "nan", "sound"], ["logits"]),
    ]


def seal(folder: Path, seed: int = 0, **verdict: Any) -> str:
    """Write the manifest and the qualification of what lies in `folder` now, and return the manifest's digest."""
    for name in (MANIFEST, QUALIFICATION):
        (folder / name).unlink(missing_ok=True)
    rule = RuleVerdict(
        rule="accuracy", value=0.9, limit=0.8, margin=0.1, judged_on="point", passed=True, reason="accuracy 0.900"
    )
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    Manifest(
        name="made-up",
        graft_version="0",
        files={path.relative_to(folder).as_posix(): file_sha256(path) for path in files},
        digests=SourceDigests(**{name: f"{name}-{seed}" for name in SourceDigests.model_fields}),
        metrics=ReleaseMetrics(test_items=100, accuracy=estimate(0.9), macro_f1=estimate(0.9)),
        verdict=Verdict(
            passed=True,
            rules=[rule],
            reasons=[],
            digests=JudgedDigests(**dict.fromkeys(JudgedDigests.model_fields, "0")),
            champion=ChampionVerdict(**{"outcome": "better", "promotable": True, **verdict}),
        ),
    ).write(folder / MANIFEST)
    digest = manifest_sha256(folder)
    checks = [Check(check="parity", passed=True, detail="0 top-1 flips")]
    Qualification(passed=True, manifest_sha256=digest, checks=checks).write(folder / QUALIFICATION)
    return digest


def answer_nan(folder: Path, level: int = 0) -> str:
    """Make a release of three classes answer NaN, every sha256 in order; its golden files say what it should answer.

    Args:
        level: 0: to every image; 255: to a white one only, so that no golden file finds it.
    """
    onnx.save(graph(0, len(Labels.read(folder / "labels.json").labels), nan_on=level), folder / "model.onnx")
    return seal(folder)


def name_another_class(folder: Path) -> str:
    """Have labels.json name one class more than the model knows, every sha256 in order."""
    labels = Labels.read(folder / "labels.json").labels
    Labels(labels=[*labels, "nowhere"]).write(folder / "labels.json")
    return seal(folder)


def truncate(folder: Path) -> None:
    """Cut the model's file in half, as an interrupted copy leaves it."""
    data = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(data[: len(data) // 2])


def flip_a_bit(folder: Path, bit: int = 3000) -> None:
    """Turn one bit of the model's file round."""
    data = bytearray((folder / "model.onnx").read_bytes())
    place = bit // 8 % len(data)
    data[place] ^= 1 << (bit % 8)
    (folder / "model.onnx").write_bytes(bytes(data))


def photo(seed: int = 0, width: int = 64, height: int = 48, kind: str = "JPEG", **options: Any) -> bytes:
    """An encoded picture of smooth colours; another seed, another picture."""
    rough = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8))
    file = io.BytesIO()
    rough.resize((width, height), Image.Resampling.BICUBIC).save(file, kind, **options)
    return file.getvalue()
