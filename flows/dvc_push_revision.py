"""`python dvc_push_revision.py COMMIT [REMOTE]`: push what DVC holds for one commit, wherever the checkout stands.

`dvc push` itself pushes what the workspace names now, or every branch or tag there is. A program of its own, as DVC
works on the current folder, and is ended with all its threads when its time runs out; it imports nothing of Graft's.
"""

from __future__ import annotations

import sys


def main(commit: str, remote: str | None) -> int:
    """Push; what went wrong is the last line of stderr."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            print(f"{repo.push(remote=remote, revs=[commit], workspace=False)} files pushed")
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
