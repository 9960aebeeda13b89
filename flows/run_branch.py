"""The commit of a published run on its own branch, made beside the user's checkout, index and branch.

Its tree is the workspace as git tracks it now, uncommitted changes included, so that the code digests in dvc.lock are
true; with what a run pins and git otherwise ignores; and with what was judged, in published/ (docs/decisions/0027).
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from flows.git_user import stand_in
from flows.params_file import round_trip_yaml
from flows.registry_tags import artifact_name
from flows.run_claims import BRANCHES
from flows.state import run_git
from tasks.params import Params
from tasks.release import MANIFEST
from tasks.workspace import Workspace

KEEPING = "refs/graft/publishing/"
"""Holds a commit until the registry, a branch and a tag name it; what is left here was interrupted."""
PUBLISHED = "published"
"""Folder of the commit with the verdicts: DVC owns the same files in reports/, and one owner is enough there."""
CODE = ("tasks", "flows", "deploy")
CONTROL = ("*.dvc", "*.gitignore", ".dvcignore", ".dvc/config")


def branch_of(run_id: str) -> str:
    """The branch of a run.

    >>> branch_of("20261121T101500-1a2b3c4d")
    'graft/run/20261121T101500-1a2b3c4d'
    """
    return f"{BRANCHES}{run_id}"


class RunTree:
    """What a published run leaves in git, as a tree; made once, committed under whatever version it gets."""

    def __init__(self, workspace: Workspace, params: Params) -> None:
        """Write the tree's objects; nothing that anybody looks at changes.

        Raises:
            WorkspaceError: git cannot read the checkout, or has no commit to stand on.
        """
        self._root = workspace.root
        self.parent = _word(run_git(self._root, "rev-parse", "--verify", "HEAD^{commit}"))
        self.tree = _tree(workspace, params)

    def commit(self, message: str) -> str:
        """A commit of the tree on top of what the checkout stands on, by git's own user; no branch moves."""
        return _word(run_git(self._root, "commit-tree", self.tree, "-p", self.parent, "-m", message))


def recommitted(root: Path, commit: str, message: str) -> str:
    """The same tree and parents under another message."""
    parents = _word(run_git(root, "show", "--no-patch", "--format=%P", commit)).split()
    above = [word for parent in parents for word in ("-p", parent)]
    return _word(run_git(root, "commit-tree", f"{commit}^{{tree}}", *above, "-m", message, env=stand_in(root)))


def _tree(workspace: Workspace, params: Params) -> str:
    root = workspace.root
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        env = {"GIT_INDEX_FILE": str(index)}
        own = root / _word(run_git(root, "rev-parse", "--git-path", "index"))
        if own.is_file():
            # With its time: git takes an entry as new as its index for one that may have changed since.
            shutil.copy2(own, index)
        else:
            run_git(root, "read-tree", "HEAD", env=env)
        run_git(root, "add", "--update", "--", ":/", env=env)
        _add(root, env, [*_untracked(root, CODE), *_untracked(root, CONTROL)])
        _add(root, env, [workspace.relative(path) for path in _pinned(workspace, params) if path.is_file()])
        prefix = _word(run_git(root, "rev-parse", "--show-prefix"))
        lines = []
        for name, data in _beside(workspace, params).items():
            blob = _word(run_git(root, "hash-object", "-w", "--stdin", data=data))
            lines.append(f"100644 {blob}\t{prefix}{name}\n")
        run_git(root, "update-index", "--add", "--index-info", data="".join(lines).encode(), env=env)
        return _word(run_git(root, "write-tree", env=env))


def _untracked(root: Path, patterns: Iterable[str]) -> list[str]:
    """Files of the checkout that git neither tracks nor ignores, such as a method that is still being written."""
    listed = run_git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", *patterns).stdout
    return [name for name in listed.decode(errors="surrogateescape").split("\0") if name]


def _add(root: Path, env: Mapping[str, str], names: Iterable[str]) -> None:
    data = "".join(f"{name}\0" for name in names).encode(errors="surrogateescape")
    if data:
        run_git(root, "add", "--force", "--pathspec-from-file=-", "--pathspec-file-nul", env=_literal(env), data=data)


def _literal(env: Mapping[str, str]) -> dict[str, str]:
    return {**env, "GIT_LITERAL_PATHSPECS": "1"}


def _pinned(workspace: Workspace, params: Params) -> list[Path]:
    """What the run rests on and git may ignore or not know yet. data/splits.lock is a file that the state has, too."""
    suite = workspace.resolve(params.validate_.suite) if params.validate_.suite else None
    return [
        workspace.params,
        workspace.dvc_yaml,
        workspace.dvc_lock,
        workspace.engine,
        workspace.weights_pin,
        workspace.source_pin,
        workspace.splits_lock,
        workspace.champion_pin,
        workspace.test_use,
        workspace.corrections,
        workspace.forgotten,
        workspace.root / "requirements.lock",
        *([suite] if suite and suite.is_relative_to(workspace.root) else []),
    ]


def _beside(workspace: Workspace, params: Params) -> dict[str, bytes]:
    """Files of the commit that the workspace has elsewhere or otherwise, by path below the workspace's root."""
    judged = {
        MANIFEST: workspace.release / MANIFEST,
        "metrics.json": workspace.metrics,
        "evaluation.json": workspace.evaluation,
        "gate.json": workspace.verdict,
        "qualification.json": workspace.qualification,
    }
    copies = {f"{PUBLISHED}/{name}": path.read_bytes() for name, path in judged.items() if path.is_file()}
    return {
        **copies,
        workspace.relative(workspace.dvc_yaml): with_artifact(workspace, artifact_name(params.export.name)),
    }


def with_artifact(workspace: Workspace, name: str) -> bytes:
    """dvc.yaml with the entry by which `dvc artifacts get` finds the release, if it has none of that name yet."""
    text = workspace.dvc_yaml.read_bytes()
    yaml = round_trip_yaml()
    document = yaml.load(text)
    if name in (document.get("artifacts") or {}):
        return text
    entry = {"path": workspace.relative(workspace.release), "type": "model"}
    if "artifacts" not in document:
        lines = ["artifacts:", f"  {name}:", *(f"    {key}: {value}" for key, value in entry.items())]
        return text.rstrip(b"\n") + "\n".join(["", *lines, ""]).encode()
    document["artifacts"] = {**(document["artifacts"] or {}), name: entry}
    buffer = io.BytesIO()
    yaml.dump(document, buffer)
    return buffer.getvalue()


def _word(done: subprocess.CompletedProcess[bytes]) -> str:
    return done.stdout.decode().strip()
