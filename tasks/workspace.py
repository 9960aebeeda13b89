"""Every path of a workspace, once.

A workspace is the folder that holds params.yaml and dvc.yaml: the checkout at the desk, a git worktree elsewhere.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import UserError, WorkspaceError

STAGES = ("validate", "embed", "split", "review", "adapt", "evaluate", "gate", "export", "qualify")


def expanded(path: str | Path) -> Path:
    """A path that somebody named, with `~` or `~name` at its beginning as the home folder that it stands for.

    Raises:
        UserError: there is no such user, or nothing says where the home folder lies.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as err:
        home = Path(path).parts[0]
        raise UserError(
            f"{path}: {home} stands for a home folder, and this machine knows none for it; check the name, or give "
            "the whole path, from / on"
        ) from err


@dataclass(frozen=True)
class Workspace:
    """Paths of one workspace; nothing is created by asking for one."""

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Workspace:
        """The workspace that holds `start` (default: the current folder).

        Raises:
            WorkspaceError: no folder from `start` upwards holds params.yaml and dvc.yaml.
            UserError: `start` names a home folder that does not exist.
        """
        here = expanded(start or Path.cwd()).resolve()
        for folder in (here, *here.parents):
            if (folder / "params.yaml").exists() and (folder / "dvc.yaml").exists():
                return cls(folder)
        raise WorkspaceError(
            f"{here} is not inside a Graft workspace (a folder with params.yaml and dvc.yaml); "
            "change into your checkout of Graft or name it with --workspace"
        )

    def relative(self, path: Path) -> str:
        """`path` as it stands in reports: relative to the root where it lies inside."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    def resolve(self, path: str) -> Path:
        """A path from params.yaml; relative ones start at the root. Raises what `expanded` does."""
        return (self.root / expanded(path)).absolute()

    def data_root(self, data_path: str) -> Path:
        """The folder that item paths are relative to: data.path, or the folder of the table that it names."""
        path = self.resolve(data_path)
        return path.parent if path.is_file() else path

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def dvc_yaml(self) -> Path:
        return self.root / "dvc.yaml"

    @property
    def dvc_lock(self) -> Path:
        return self.root / "dvc.lock"

    # data
    @property
    def sample(self) -> Path:
        return self.root / "data" / "sample"

    @property
    def raw(self) -> Path:
        return self.root / "data" / "raw"

    @property
    def items(self) -> Path:
        return self.root / "data" / "items.parquet"

    @property
    def embeddings(self) -> Path:
        return self.root / "data" / "embeddings"

    @property
    def features(self) -> Path:
        return self.embeddings / "features.npy"

    @property
    def embedding_index(self) -> Path:
        return self.embeddings / "index.parquet"

    @property
    def splits(self) -> Path:
        return self.root / "data" / "splits.parquet"

    @property
    def splits_lock(self) -> Path:
        return self.root / "data" / "splits.lock"

    @property
    def engine(self) -> Path:
        return self.root / "data" / "engine.json"

    @property
    def weights_pin(self) -> Path:
        return self.root / "data" / "weights.json"

    @property
    def source_pin(self) -> Path:
        return self.root / "data" / "source.json"

    @property
    def champion_pin(self) -> Path:
        """Which releases a run's model is compared with, pinned before the first stage."""
        return self.root / "data" / "champion.json"

    @property
    def test_use(self) -> Path:
        """Which judgement on this test set the run's is, entered before evaluate."""
        return self.root / "data" / "test_use.json"

    @property
    def corrections(self) -> Path:
        """People's corrections of labels: theirs, in git."""
        return self.root / "data" / "corrections.csv"

    @property
    def forgotten(self) -> Path:
        """Tombstones of forgotten items: in git, so that every checkout knows them."""
        return self.root / "data" / "forgotten.csv"

    # models
    @property
    def backbone(self) -> Path:
        return self.root / "models" / "backbone"

    @property
    def adapted(self) -> Path:
        return self.root / "models" / "adapted"

    @property
    def release(self) -> Path:
        return self.root / "models" / "release"

    @property
    def weights_folder(self) -> Path:
        """Weights of the user's own, each under DVC (`graft backbone add`)."""
        return self.root / "models" / "weights"

    # reports
    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def validation(self) -> Path:
        return self.reports / "validation.json"

    @property
    def validation_page(self) -> Path:
        return self.reports / "validation.html"

    @property
    def split_report(self) -> Path:
        return self.reports / "split.json"

    @property
    def review_report(self) -> Path:
        return self.reports / "review.json"

    @property
    def review_list(self) -> Path:
        return self.reports / "review.csv"

    @property
    def evaluation(self) -> Path:
        return self.reports / "evaluation.json"

    @property
    def learning_curves(self) -> Path:
        return self.reports / "learning_curves.csv"

    @property
    def predictions(self) -> Path:
        return self.reports / "predictions.parquet"

    @property
    def champion_predictions(self) -> Path:
        """What the pinned releases answer to the test items, for qualify to compare with again."""
        return self.reports / "champion_predictions.parquet"

    @property
    def baseline_predictions(self) -> Path:
        """What the baselines answer to the test items, for a quantised model to be held against, too."""
        return self.reports / "baseline_predictions.parquet"

    @property
    def quantization(self) -> Path:
        """What export found of int8 models, where one was asked for."""
        return self.reports / "int8.json"

    @property
    def int8_predictions(self) -> Path:
        """What the released int8 model answered at its export; no row where the fp32 model is released."""
        return self.reports / "int8_predictions.parquet"

    @property
    def int8_timings(self) -> Path:
        """Latencies of int8 models on this machine: no out, and no dependency of a stage."""
        return self.reports / "int8_timings.json"

    @property
    def confusion(self) -> Path:
        return self.reports / "confusion.csv"

    @property
    def reliability(self) -> Path:
        return self.reports / "reliability.csv"

    @property
    def metrics(self) -> Path:
        return self.reports / "metrics.json"

    @property
    def verdict(self) -> Path:
        return self.reports / "gate.json"

    @property
    def page(self) -> Path:
        return self.reports / "report.html"

    @property
    def qualification(self) -> Path:
        return self.reports / "qualification.json"

    @property
    def timings(self) -> Path:
        return self.reports / "timings.json"

    def outcome(self, stage: str) -> Path:
        return self.reports / f"outcome-{stage}.json"

    # the machine's own: never in git, never in DVC
    @property
    def private(self) -> Path:
        return self.root / ".graft"

    @property
    def home(self) -> Path:
        """The checkout that a run's worktree belongs to, which owns store and caches; the root itself at the desk."""
        marker = self.private / "home"
        return Path(marker.read_text("utf-8").strip()) if marker.is_file() else self.root

    def store(self, path: str) -> Path:
        """The release store that params.yaml names; a relative one belongs to the checkout, not to its worktrees."""
        return (self.home / expanded(path)).absolute()

    def pinned_release(self, manifest_sha256: str) -> Path:
        """A copy of a release that a run compares with."""
        return self.private / "champions" / manifest_sha256

    def pinned_items(self, manifest_sha256: str) -> Path:
        """Beside that copy: the table of what the release learned from and was tested on."""
        return self.private / "champions" / f"{manifest_sha256}.items.parquet"

    @property
    def lock(self) -> Path:
        return self.private / "lock"

    @property
    def forgetting(self) -> Path:
        """What `graft data forget` has begun and not finished."""
        return self.private / "forgetting.json"

    @property
    def checkpoints(self) -> Path:
        """State of trainings, by the digest of all that determines them; outside every out, so DVC deletes none."""
        return self.private / "checkpoints"

    def run_result(self, run_id: str) -> Path:
        return self.private / "runs" / f"{run_id}.json"

    def run_log(self, run_id: str) -> Path:
        return self.private / "runs" / f"{run_id}.log.jsonl"

    @property
    def cache(self) -> Path:
        """Backbone graphs and feature rows; GRAFT_CACHE_DIR lets several workspaces share one."""
        named = os.environ.get("GRAFT_CACHE_DIR")
        return expanded(named).absolute() if named else self.home / ".graft" / "cache"
