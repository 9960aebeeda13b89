"""`python dvc_push_revision.py COMMIT [REMOTE]`: push what DVC holds for one commit, wherever the checkout stands.

`dvc push` itself pushes what the workspace names now, or every branch or tag there is. It also ends well where an
object is neither in the cache nor at the remote, and uploads one that was altered on disk under the old digest. Here
both are faults, and nothing is uploaded then. A program of its own, as DVC works on the current folder, and is ended
with all its threads when its time runs out; it imports nothing of Graft's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

INCOMPLETE = 3
"""Exit code: the cache is at fault; trying again is of no use."""
SHOWN = 3


class Incomplete(Exception):
    """Objects of the commit are missing or altered; the text names them."""


@dataclass(frozen=True)
class Out:
    """A file or folder that the commit has under DVC, and the remote of its own that its .dvc file may name."""

    name: str
    hash_info: Any
    legacy: bool
    remote: str | None


def push(repo: Any, commit: str, remote: str | None) -> int:
    """Have every object of every out of the commit at its remote.

    Returns:
        how many objects were uploaded.
    Raises:
        Incomplete: see there; nothing was uploaded to that remote.
        DvcException, OSError, ValueError: DVC or the remote fails.
    """
    from dvc.exceptions import UploadError
    from dvc_data.hashfile.transfer import transfer

    groups: dict[tuple[str | None, bool], list[Out]] = {}
    for out in _known(repo, commit):
        if out.remote and out.remote not in repo.config["remote"]:
            raise Incomplete(
                f"{out.name} is to go to a remote of its own, {out.remote}, which DVC does not know; "
                f"`dvc remote add {out.remote} URL`"
            )
        groups.setdefault((out.remote or remote, out.legacy), []).append(out)
    sent = 0
    repo.cloud.get_remote(remote, "push")  # an unknown one is a fault for a commit without outs, too
    for (name, legacy), outs in groups.items():
        cache = repo.cache.legacy if legacy else repo.cache.local
        there = repo.cloud.get_remote_odb(name, "push", "md5-dos2unix" if legacy else "md5")
        objects = dict(_objects(outs, cache, there))
        # Without DVC's memory of the remote: every object is asked for.
        ended = transfer(cache, there, list(objects), cache_odb=cache, validate_status=partial(_check, objects, cache))
        if ended.failed:
            raise UploadError(len(ended.failed))
        sent += len(ended.transferred)
    return sent


def _known(repo: Any, commit: str) -> list[Out]:
    """The commit's outs, read before anything else: while DVC stands on the commit, its settings are the commit's."""
    from dvc.exceptions import DvcException

    try:
        return list(_outs(repo, commit))
    except DvcException as err:
        raise Incomplete(f"DVC cannot read the commit: {' '.join(str(err).split())}") from err


def _outs(repo: Any, commit: str) -> Iterator[Out]:
    from dvc.cachemgr import LEGACY_HASH_NAMES

    for _ in repo.brancher(revs=[commit], workspace=False):
        for out in repo.index.outs:
            if out.use_cache and out.can_push and out.hash_info and out.is_in_repo and not out.stage.is_repo_import:
                name = repo.fs.relpath(out.fs_path, repo.root_dir)
                yield Out(name, out.hash_info, out.hash_name in LEGACY_HASH_NAMES, out.remote)


def _objects(outs: Iterable[Out], cache: Any, there: Any) -> Iterator[tuple[Any, str]]:
    """Digest and path of every file; of a folder its list, too."""
    for out in outs:
        yield out.hash_info, out.name
        if out.hash_info.isdir:
            for key, _, hash_info in _members(out, cache, there):
                yield hash_info, "/".join((out.name, *key))


def _members(out: Out, cache: Any, there: Any) -> Any:
    from dvc_data.hashfile.tree import Tree
    from dvc_objects.errors import ObjectFormatError

    if _is_whole(cache, out.hash_info):
        return Tree.load(cache, out.hash_info)
    with suppress(FileNotFoundError, ObjectFormatError):
        return Tree.load(there, out.hash_info)
    return ()


def _is_whole(cache: Any, hash_info: Any) -> bool:
    """Whether the cache's object is what its name says, by its bytes: DVC believes one that is read-only."""
    from dvc_data.hashfile.hash import hash_file

    path = cache.oid_to_path(hash_info.value)
    try:
        _, found = hash_file(path, cache.fs, cache.hash_name)
    except FileNotFoundError:
        return False
    return bool(found.value == hash_info.value.removesuffix(".dir"))


def _check(objects: dict[Any, str], cache: Any, found: Any) -> None:
    """What would be uploaded is read once more; what is at the remote already is not."""
    missing = sorted(objects[one] for one in found.missing)
    altered = sorted(objects[one] for one in found.new if not _is_whole(cache, one))
    lacks = f"neither DVC's cache nor the remote has {_named(missing)}" if missing else None
    differs = f"DVC's cache holds {_named(altered)} altered" if altered else None
    if lacks or differs:
        raise Incomplete("; ".join(filter(None, (lacks, differs))))


def _named(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def main(commit: str, remote: str | None) -> int:
    """Push; what went wrong is the last line of stderr."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo, repo.lock:
            print(f"{push(repo, commit, remote)} files pushed")
    except Incomplete as err:
        print(err, file=sys.stderr)
        return INCOMPLETE
    except (DvcException, OSError, ValueError) as err:
        cause = f": {err.__cause__}" if err.__cause__ else ""
        print(f"{' '.join(str(err).split())}{cause}", file=sys.stderr)
        return 1
    except Exception as err:
        # A remote's own library (botocore, paramiko) raises what it likes; its type alone may say what is wrong.
        print(f"{type(err).__name__}: {' '.join(str(err).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
