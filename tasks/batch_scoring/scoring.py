"""Score a folder or a table of files with one release."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Literal

from tasks.backbones.engine import installed_engine
from tasks.batch_scoring.answers import BATCH, Answering, answered
from tasks.batch_scoring.columns import ScoreColumns
from tasks.batch_scoring.entries import Entry
from tasks.batch_scoring.listing import Listing, write_listing
from tasks.batch_scoring.output import check_output, finished_tally, words_of, write_output
from tasks.batch_scoring.parts import Parts, clear_working_folder, scratch_folder, working_folder
from tasks.batch_scoring.sources import Source, find_source
from tasks.digests import value_sha256
from tasks.errors import DataError, counted
from tasks.params.serve import ServeLimits
from tasks.reports.document import SCHEMA_VERSION
from tasks.reports.scoring import ScoreReport
from tasks.servable import Servable

PART_ROWS, PART_BYTES = 1024, 2**24
"""A part holds so many rows, or fewer where their lists of numbers take more bytes."""


State = Literal["scored", "unchanged"]
SCORED: State = "scored"
UNCHANGED: State = "unchanged"


@dataclass(frozen=True)
class ScoreWish:
    """What to score and where to.

    Attributes:
        source: a folder, or a CSV or Parquet table with a column `path`.
        output: the Parquet file.
        limits, abstain_below: what a server keeps to (params.yaml: serve).
        version: the release's number in the registry, where it was asked.
        threads: 0 takes every core.
    """

    source: Path
    output: Path
    limits: ServeLimits
    version: int | None = None
    embeddings: bool = False
    threads: int = 0
    abstain_below: float = 0.0


@dataclass(frozen=True)
class Watch:
    """Who hears how far scoring is: `listed` files so far, then rows `done` of all."""

    listed: Callable[[int], None] = lambda count: None
    done: Callable[[int, int], None] = lambda done, total: None


def check_wish(wish: ScoreWish) -> None:
    """What can be said before a release is opened.

    Raises:
        DataError: there is no such source, or it is a table without a column `path`.
        UserError: the output cannot be written there.
    """
    check_output(wish.output)
    find_source(wish.source)


def score(wish: ScoreWish, servable: Servable, watch: Watch = Watch()) -> ScoreReport:
    """Write one row for every file; what an interrupted run of the same wish left is taken over.

    Raises:
        UserError, DataError: as `check_wish`; or there is no file to score; or another run writes the same output.
        ReleaseError: the release gives no embeddings, or fails.
    """
    check_output(wish.output)
    started, source = time.monotonic(), find_source(wish.source)
    columns = ScoreColumns(servable.opened.labels, source.labelled, wish.embeddings, wish.abstain_below)
    answering = Answering(servable.opened, source.root, wish.limits, wish.embeddings)
    computed, state = 0, UNCHANGED
    with working_folder(wish.output) as folder, scratch_folder(folder) as scratch:
        listing, left_out = _listed(source, scratch, watch)
        key = _key(wish, servable, source, listing)
        tally = finished_tally(wish.output, key)
        if tally is None:
            parts = _parts(folder / key[:32], listing, columns, answering)
            kept = parts.folder / "listing"
            listing.file.replace(kept)
            computed = _score_missing(replace(listing, file=kept), parts, columns, answering, wish, watch)
            words = words_of(servable.digest, wish.version, servable.opened.labels)
            tally = write_output(wish.output, parts, key, words, left_out)
            clear_working_folder(folder)
            state = SCORED
        else:
            # A run that was killed between the output's rename and its last act leaves its parts.
            shutil.rmtree(folder / key[:32], ignore_errors=True)
    return ScoreReport(
        state=state,
        output=str(wish.output),
        release=servable.digest,
        version=wish.version,
        tally=tally,
        computed=computed,
        seconds=round(time.monotonic() - started, 3),
    )


def _listed(source: Source, folder: Path, watch: Watch) -> tuple[Listing, int]:
    """The listing, and how many other files there are."""
    left_out = 0

    def leave_out(path: str) -> None:
        nonlocal left_out
        left_out += 1

    listing = write_listing(source.entries(leave_out), not source.is_table, folder, watch.listed)
    if listing.entries:
        return listing, left_out
    if source.is_table:
        raise DataError(f"{source.path} has no rows; list at least one file in its column `path`")
    others = f" ({counted(left_out, 'other file')}); files without an image's suffix go by a table" if left_out else ""
    raise DataError(f"{source.path} holds no images{others}; name the folder that holds them")


def _key(wish: ScoreWish, servable: Servable, source: Source, listing: Listing) -> str:
    """Names everything that determines the rows."""
    return value_sha256(
        {
            "schema": SCHEMA_VERSION,
            "release": servable.digest,
            "version": wish.version,
            "engine": installed_engine().model_dump(mode="json"),
            "root": str(source.root),
            "listing": listing.digest,
            "labelled": source.labelled,
            "embeddings": wish.embeddings,
            "formats": sorted(wish.limits.formats),
            "max_pixels": wish.limits.max_pixels,
            "frames": wish.limits.frames,
            "abstain_below": wish.abstain_below,
        }
    )


def _parts(folder: Path, listing: Listing, columns: ScoreColumns, answering: Answering) -> Parts:
    rows = min(PART_ROWS, max(BATCH, PART_BYTES // (4 * sum(answering.widths)) // BATCH * BATCH))
    return Parts(folder, columns.schema, listing.entries, rows)


def _score_missing(
    listing: Listing, parts: Parts, columns: ScoreColumns, answering: Answering, wish: ScoreWish, watch: Watch
) -> int:
    """Make the parts that are not there; returns how many rows they hold."""
    missing = parts.missing()
    total = sum(len(parts.rows_of(part)) for part in missing)
    done = parts.rows - total
    watch.done(done, parts.rows)

    def work() -> Iterator[tuple[int, list[Entry]]]:
        entries = listing.read(parts.rows_of(part) for part in missing)
        for part in missing:
            rest = islice(entries, len(parts.rows_of(part)))
            while piece := list(islice(rest, BATCH)):
                yield part, piece

    with closing(answered(answering, work(), wish.threads)) as stream:
        for part, pieces in groupby(stream, key=itemgetter(0)):
            rows, found = [], []
            for _, entries, answers in pieces:
                rows += entries
                found.append(answers)
                done += len(entries)
                watch.done(done, parts.rows)
            parts.write(part, columns.table(rows, found))
    return total
