"""How well the label review finds wrong labels: labels flipped at random, and who names them first.

    python -m benchmarks.label_review DOGS_CATS SIGN_DIGITS --weights MOBILENET_V2.pth --cleanlab VENV/bin/python \\
        [--share 0.05] [--seeds 5]

VENV is any environment with cleanlab (`python -m venv VENV && VENV/bin/pip install cleanlab`); without --cleanlab its
rows are left out. The other side is what a user would write instead, on the same features: scikit-learn's
StandardScaler and LogisticRegression in a stratified 5-fold cross_val_predict, ranked by the probability of the given
label, or handed to cleanlab's find_label_issues. Errors that the pack came with count as false alarms for all.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.fresh_workspace import Setting, fresh_workspace, warn_of_uncommitted
from benchmarks.rounds import command_line, conditions, keep_section, load_now, markdown_table, median_of
from tasks.metrics import BoolVector, FloatMatrix, IntVector
from tasks.out_of_fold import out_of_fold
from tasks.params import ReviewParams
from tasks.review_findings import doubted, expected_wrong
from tasks.review_items import group_numbers
from tasks.tables import SPLITS, read_table
from tasks.threads import one_blas_thread

CLEANLAB = """
import sys
import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
given = np.load(sys.argv[1])
flagged = find_label_issues(given["labels"], given["probabilities"], n_jobs=1)
order = np.argsort(get_label_quality_scores(given["labels"], given["probabilities"]), kind="stable")
np.savez(sys.argv[2], flagged=flagged, order=order)
"""


@dataclass(frozen=True)
class Pack:
    """Features (items, width), labels and groups (items,) of one pack."""

    name: str
    features: FloatMatrix
    labels: IntVector
    groups: IntVector


@dataclass(frozen=True)
class Named:
    """Who was named: all items, the most doubted first, and which of them count as wrong; `seconds` of computing."""

    order: IntVector
    flagged: BoolVector
    seconds: float


def embedded(setting: Setting) -> Pack:
    """The pack as `embed` and `split` leave it in a fresh workspace."""
    with fresh_workspace() as made:
        made.prepare(setting)
        made.dvc("repro", "split")
        splits = read_table(made.workspace.splits, SPLITS)
        labels = np.array(splits["label_index"].to_pylist())
        return Pack(setting.data.name, np.load(made.workspace.features), labels, group_numbers(splits))


def flipped(labels: IntVector, share: float, seed: int) -> tuple[IntVector, BoolVector]:
    """Labels of which a share is another class, all equally likely; and which these are."""
    generator, classes = np.random.default_rng(seed), int(labels.max()) + 1
    rows = generator.choice(len(labels), round(share * len(labels)), replace=False)
    noisy, wrong = labels.copy(), np.zeros(len(labels), dtype=np.bool_)
    noisy[rows] = (labels[rows] + generator.integers(1, classes, len(rows))) % classes
    wrong[rows] = True
    return noisy, wrong


def by_graft(pack: Pack, labels: IntVector) -> tuple[Named, FloatMatrix]:
    """The review's ranking and its likely wrong labels; and the probabilities."""
    started, classes = time.perf_counter(), int(labels.max()) + 1
    with one_blas_thread():
        probe = out_of_fold(pack.features, labels, pack.groups, classes, ReviewParams().max_fitted_items)
    names = {number: str(number) for number in range(classes)}
    count = expected_wrong(probe, labels)
    listed = [finding.row for finding in doubted(probe, labels, len(labels), names)]
    flagged = np.zeros(len(labels), dtype=np.bool_)
    flagged[listed[:count]] = True
    order = np.array([*listed, *np.setdiff1d(np.arange(len(labels)), listed)])
    return Named(order, flagged, time.perf_counter() - started), probe.probabilities


def by_hand(pack: Pack, labels: IntVector, seed: int) -> tuple[Named, FloatMatrix]:
    """A plain ranking by the probability of the given label, all that are predicted otherwise counted as wrong."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    started = time.perf_counter()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    probabilities = cross_val_predict(model, pack.features, labels, cv=folds, method="predict_proba")
    given = probabilities[np.arange(len(labels)), labels]
    wrong = probabilities.argmax(axis=1) != labels
    return Named(np.argsort(given, kind="stable"), wrong, time.perf_counter() - started), probabilities


def by_cleanlab(python: Path, labels: IntVector, probabilities: FloatMatrix) -> Named:
    """cleanlab's find_label_issues with its defaults, and its ranking by label quality; imports included."""
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder) / "given.npz", Path(folder) / "found.npz"
        np.savez(given, labels=labels, probabilities=probabilities)
        started = time.perf_counter()
        subprocess.run([python, "-c", CLEANLAB, given, found], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        with np.load(found) as loaded:
            return Named(loaded["order"], loaded["flagged"], seconds)


def measure(pack: Pack, share: float, seed: int, cleanlab: Path | None) -> dict[str, tuple[float, ...]]:
    """For each side: precision of the top k, k being the flipped ones; flagged, their precision, recall; seconds."""
    labels, wrong = flipped(pack.labels, share, seed)
    (ours, our_probabilities), (plain, probabilities) = by_graft(pack, labels), by_hand(pack, labels, seed)
    sides = {"graft review": ours, "scikit-learn, plain ranking": plain}
    if cleanlab is not None:
        theirs = by_cleanlab(cleanlab, labels, probabilities)
        sides["scikit-learn, cleanlab"] = Named(theirs.order, theirs.flagged, theirs.seconds + plain.seconds)
        mixed = by_cleanlab(cleanlab, labels, our_probabilities)
        sides["graft's probabilities, cleanlab"] = Named(mixed.order, mixed.flagged, mixed.seconds + ours.seconds)
    return {name: _figures(named, wrong) for name, named in sides.items()}


def _figures(named: Named, wrong: BoolVector) -> tuple[float, ...]:
    count = int(wrong.sum())
    hits = float(wrong[named.flagged].sum())
    flagged = int(named.flagged.sum())
    return float(wrong[named.order[:count]].mean()), flagged, hits / max(flagged, 1), hits / count, named.seconds


def section(packs: list[Pack], share: float, seeds: int, cleanlab: Path | None) -> str:
    """The tables of all packs."""
    parts = []
    for pack in packs:
        found: dict[str, list[tuple[float, ...]]] = defaultdict(list)
        for seed in range(seeds):
            for name, figures in measure(pack, share, seed, cleanlab).items():
                found[name].append(figures)
            print(f"{pack.name} seed {seed}", file=sys.stderr, flush=True)
        rows = []
        for name, each in found.items():
            top, flagged, precision, recall = np.mean(each, axis=0)[:4]
            low, high = min(one[0] for one in each), max(one[0] for one in each)
            rows.append(
                [
                    name,
                    f"{top:.3f} ({low:.3f} to {high:.3f})",
                    f"{flagged:.0f}",
                    f"{precision:.3f}",
                    f"{recall:.3f}",
                    f"{median_of(one[4] for one in each):.1f}",
                ]
            )
        clean = int(by_graft(pack, pack.labels)[0].flagged.sum())
        parts.append(
            f"**{pack.name}**: {round(share * len(pack.labels))} of {len(pack.labels)} labels flipped; of the labels "
            f"as they came, the review names {clean}.\n\n"
            + markdown_table(
                ["", "precision of the top k (range)", "named", "precision", "recall", "seconds"],
                rows,
            )
        )
    return "\n\n".join(parts)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("packs", type=Path, nargs="+")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--cleanlab", type=Path, help="a Python that has cleanlab")
    parser.add_argument(
        "--share", type=float, default=0.05, help="of the labels that are flipped (default: %(default)s)"
    )
    parser.add_argument("--seeds", type=int, default=5, help="other labels are flipped (default: %(default)s)")
    arguments = parser.parse_args()
    print(warn_of_uncommitted(), file=sys.stderr)
    load = load_now()
    packs = [embedded(Setting(pack.resolve(), arguments.weights.resolve())) for pack in arguments.packs]
    text = (
        f"Labels flipped at random, {arguments.seeds} times; means over them, k being the number flipped (so that "
        "recall there is the same figure). `named` are the items that each side calls wrong.\n\n"
    )
    text += section(packs, arguments.share, arguments.seeds, arguments.cleanlab)
    text += f"\n\n{conditions(arguments.seeds, load)}"
    keep_section("label review", text, arguments.results)
    print(text)


if __name__ == "__main__":
    main()
