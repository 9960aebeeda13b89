"""Every error that Graft raises on purpose.

GraftError                      what was wrong, what is allowed, how to mend it
├── UserError                   something in the caller's hands: never a traceback
│   ├── ParamsError             params.yaml or --set
│   ├── DataError               the raw folder or table
│   ├── WeightsError            backbone name, weights file or download
│   └── WorkspaceError          the checkout: dvc.lock, rwlock, missing tools, a busy workspace
├── StageInputError             an earlier stage's file is missing, unreadable or of another version
├── Refusal                     a judgement, not a fault: exit code 2
│   ├── ContractBroken          the data breaks a critical expectation
│   ├── GateNotPassed           the verdict refuses the model, or judged another one
│   ├── NotQualified            the release itself failed its judgement
│   └── NotPromotable           the verdict does not allow the version into production
├── ReleaseError                a release or the store is damaged
└── StageFailed                 a stage process ended badly (crash, timeout, kill)
    └── MemoryExceeded          it used more memory than limits.memory_gb allows
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from difflib import get_close_matches


class GraftError(Exception):
    """Base of all of Graft's own errors; its text is meant for the user."""


class UserError(GraftError):
    """Something that the caller can mend."""


class ParamsError(UserError):
    """params.yaml or an override holds a wrong key or value."""


class DataError(UserError):
    """The raw folder or table cannot be read as a labelled data set."""


class WeightsError(UserError):
    """The backbone or its weights cannot be had."""


class WorkspaceError(UserError):
    """The checkout or the machine is not ready."""


class StageInputError(GraftError):
    """A file that an earlier stage should have written is missing or unreadable."""


class Refusal(GraftError):
    """A judgement against the data or the model; the run worked."""


class ContractBroken(Refusal):
    """The data breaks a critical expectation."""


class GateNotPassed(Refusal):
    """The verdict refuses the model, or was given on something else."""


class NotQualified(Refusal):
    """The release itself failed its judgement."""


class NotPromotable(Refusal):
    """The verdict does not allow the version into production, or was made against another champion."""


class ReleaseError(GraftError):
    """A release folder or the release store is damaged."""


class StageFailed(GraftError):
    """A stage process crashed, timed out or was killed."""


class MemoryExceeded(StageFailed):
    """A stage used more memory than its limit and was ended; trying again would end the same."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest known name, whatever its case, and the list of all, as the tail of an error message.

    >>> did_you_mean("resnet19", ["resnet18", "mobilenet_v2"])
    "; did you mean 'resnet18'? known: mobilenet_v2, resnet18"
    """
    names = sorted(known)
    folded = {one.casefold(): one for one in reversed(names)}
    near = get_close_matches(name.casefold(), folded, n=1)
    hint = f"; did you mean {folded[near[0]]!r}?" if near else ";"
    return f"{hint} known: {', '.join(names)}"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A count with its noun; `plural` where that is more than an s.

    >>> counted(1, "item"), counted(3, "item"), counted(0, "entry", "entries")
    ('1 item', '3 items', '0 entries')
    """
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def full_disk(err: BaseException) -> str | None:
    """What to say of an error that a full disk or a used-up quota raised, with the mend; None of any other.

    >>> full_disk(OSError(errno.ENOSPC, "No space left on device", "models/x"))[:45]
    'no space left on the disk of models/x; free s'
    """
    if not isinstance(err, OSError) or err.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    place = err.filename2 or err.filename or "this workspace"
    return (
        f"no space left on the disk of {place}; free some (`graft gc --dry-run` shows what may go), then run again: "
        "finished stages are not repeated"
    )
