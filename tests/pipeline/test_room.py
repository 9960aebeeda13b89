"""Disk and memory as a user meets them: a run that lacks them, and a collection that gives them back."""

from __future__ import annotations

import json
import re

from desk import Desk

from tasks.release import QUALIFICATION, verify_release


def test_a_run_without_the_disk_that_it_asks_for_does_not_start_and_params_stay(released: Desk) -> None:
    before = released.workspace.params.read_text()
    wanted = ["gate.accuracy.minimum=0.5", "limits.free_disk_gb=1000000", "limits.stages.gate.memory_gb=100000"]
    done = released.graft("adapt", *(part for edit in wanted for part in ("--set", edit)))
    assert done.returncode == 1
    assert "there is not enough room to start; nothing was run" in done.stderr
    assert re.search(r"limits\.free_disk_gb wants 1000000; free \d+ GB", done.stderr)
    assert "params.yaml is as it was before" in done.stderr
    assert "limits.stages.gate.memory_gb is 100000" in done.stderr
    assert "validate:" not in done.stderr, "validate was not due"
    assert released.workspace.params.read_text() == before


def test_after_a_collection_of_all_that_may_go_the_result_still_stands(released: Desk) -> None:
    said = released.graft("gc", "--dry-run", "--max-bytes", "0")
    assert "would go" in said.stdout
    done = released.graft("gc", "--max-bytes", "0", "--json")
    collection = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert {piece["kind"] for piece in collection["removed"]} == {"feature rows"}
    assert collection["freed_bytes"] > 0
    (release,) = released.releases()
    verify_release(release, beside=(QUALIFICATION,))
    code, result, stderr = released.adapt()
    assert code == 0, stderr
    assert result["unchanged"] is True


def test_a_size_that_is_none_and_a_wrong_form_are_named(released: Desk) -> None:
    size = released.graft("gc", "--max-bytes", "plenty")
    form = released.graft("adapt", "--log-format", "yaml")
    assert (size.returncode, form.returncode) == (1, 1)
    assert "--max-bytes 'plenty' is no size; write 5GB" in size.stderr
    assert "--log-format: unknown value 'yaml'" in form.stderr
