"""Is the bundled backbone worth having? A probe on its features against logistic regression on raw pixels.

    python benchmarks/sample_draws.py [--draws 20] [--labels 1 5 20] [--json] [--record]

Every draw picks other labelled scans of the embedded sample and tests on all the rest. The probe is the one that
`graft adapt` fits, on features from the same ONNX graph; the baselines are scikit-learn's on the same rows, on grey
values in [0, 1] and on standardised ones.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from tasks.backbones.graph import cached_backbone
from tasks.methods.contract import LabelledFeatures
from tasks.methods.linear_probe import LinearProbe
from tasks.onnx_session import open_session
from tasks.params import BackboneParams
from tasks.params.linear_probe import LinearProbeParams
from tasks.sample import draw_labelled, read_scans
from tasks.workspace import Workspace

RECORD = Path("tasks", "backbones", "bundled", "record.json")
BATCH = 64

FloatMatrix = npt.NDArray[np.float32]
IntVector = npt.NDArray[np.int64]
Classifier = Callable[[FloatMatrix, IntVector, FloatMatrix], IntVector]


@dataclass(frozen=True)
class PairedGain:
    """Mean accuracy difference over the draws, with the 95% t interval of that mean."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Mean test accuracies over the draws at one number of labels, ratios in [0, 1]."""

    labels_per_class: int
    draws: int
    probe: float
    pixels: float
    pixels_standardised: float
    gain: PairedGain
    gain_over_standardised: PairedGain


def compare(features: FloatMatrix, pixels: FloatMatrix, labels: IntVector, per_class: int, draws: int) -> Comparison:
    """Run every classifier on the same draws (seeds 0 to draws - 1).

    Args:
        features: (items, width) of the backbone.
        pixels: (items, 64) grey values in [0, 1].
        labels: (items,) digits 0..9.
    """
    learn = [draw_labelled(labels, per_class, seed) for seed in range(draws)]
    probe = _accuracies(features, labels, learn, probe_predictions)
    plain = _accuracies(pixels, labels, learn, pixel_predictions)
    standardised = _accuracies(pixels, labels, learn, standardised_pixel_predictions)
    return Comparison(
        labels_per_class=per_class,
        draws=draws,
        probe=float(probe.mean()),
        pixels=float(plain.mean()),
        pixels_standardised=float(standardised.mean()),
        gain=paired_gain(probe - plain),
        gain_over_standardised=paired_gain(probe - standardised),
    )


def paired_gain(differences: npt.NDArray[np.float64]) -> PairedGain:
    """Mean of (draws,) differences with its t interval, which is about other labels of these scans, not other scans."""
    from scipy.stats import t

    mean, draws = float(differences.mean()), len(differences)
    half = float(t.ppf(0.975, draws - 1) * differences.std(ddof=1) / math.sqrt(draws)) if draws > 1 else math.inf
    return PairedGain(mean, mean - half, mean + half)


def probe_predictions(train: FloatMatrix, labels: IntVector, test: FloatMatrix) -> IntVector:
    """The linear probe with its default params, every item a group of its own."""
    probe = LinearProbe()
    data = LabelledFeatures(train, labels, np.arange(len(labels)), classes=10)
    return np.asarray(probe.adapt(data, LinearProbeParams()).head.logits(test).argmax(axis=1))


def pixel_predictions(train: FloatMatrix, labels: IntVector, test: FloatMatrix) -> IntVector:
    """scikit-learn's logistic regression with its default strength."""
    from sklearn.linear_model import LogisticRegression

    return np.asarray(LogisticRegression(max_iter=1000).fit(train, labels).predict(test))


def standardised_pixel_predictions(train: FloatMatrix, labels: IntVector, test: FloatMatrix) -> IntVector:
    """The same after scikit-learn's StandardScaler."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train)
    return pixel_predictions(scaler.transform(train), labels, scaler.transform(test))


def backbone_features(scans: npt.NDArray[np.uint8], workspace: Workspace) -> FloatMatrix:
    """(items, width) features of (items, 8, 8) grey scans, through the bundled backbone's ONNX graph."""
    report, graph = cached_backbone(BackboneParams(), workspace.root, workspace.cache)
    session = open_session(graph)
    images = np.stack([report.preprocess.fit(Image.fromarray(scan).convert("RGB")) for scan in scans])
    parts = [
        session.run(["embedding"], {"image": images[start : start + BATCH]})[0]
        for start in range(0, len(images), BATCH)
    ]
    return np.concatenate(parts)


def run(workspace: Workspace, label_counts: list[int], draws: int) -> list[Comparison]:
    """Compare at every number of labels per class; features are computed once."""
    scans, labels = read_scans()
    pixels = scans.reshape(len(scans), -1).astype(np.float32) / 255.0
    features = backbone_features(scans, workspace)
    return [compare(features, pixels, labels, count, draws) for count in label_counts]


def as_table(comparisons: list[Comparison]) -> str:
    """Lines for a terminal."""
    head = f"{'labels/class':>12} {'probe':>7} {'pixels':>7} {'standardised':>13}   gain over pixels (95%)"
    rows = [
        f"{row.labels_per_class:>12} {row.probe:>7.3f} {row.pixels:>7.3f} {row.pixels_standardised:>13.3f}   "
        f"{row.gain.mean:+.3f} ({row.gain.low:+.3f} to {row.gain.high:+.3f}), over standardised "
        f"{row.gain_over_standardised.mean:+.3f} "
        f"({row.gain_over_standardised.low:+.3f} to {row.gain_over_standardised.high:+.3f})"
        for row in comparisons
    ]
    return "\n".join([head, *rows])


def record(path: Path, comparisons: list[Comparison]) -> None:
    """Put the figures beside those of the pretraining."""
    document = json.loads(path.read_text())
    document["digit_probe"] = [_rounded(asdict(comparison)) for comparison in comparisons]
    path.write_text(json.dumps(document, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20, help="draws of the labels (default: %(default)s)")
    parser.add_argument("--labels", type=int, nargs="+", default=[1, 5, 20], help="labelled scans per class")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--record", action="store_true", help=f"also write the figures to {RECORD}")
    arguments = parser.parse_args()
    workspace = Workspace.find(Path(__file__).parent)
    comparisons = run(workspace, arguments.labels, arguments.draws)
    if arguments.record:
        record(workspace.root / RECORD, comparisons)
    print(json.dumps([asdict(row) for row in comparisons]) if arguments.json else as_table(comparisons))


def _accuracies(
    rows: FloatMatrix, labels: IntVector, draws: list[IntVector], classify: Classifier
) -> npt.NDArray[np.float64]:
    accuracies = []
    for learn in draws:
        rest = np.setdiff1d(np.arange(len(labels)), learn)
        accuracies.append(np.mean(classify(rows[learn], labels[learn], rows[rest]) == labels[rest]))
    return np.array(accuracies)


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
