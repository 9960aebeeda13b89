"""The user's whole way, through the command line, DVC and the embedded Prefect."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from desk import REPOSITORY, Desk
from small_workspace import add_pictures

from flows.workspace_lock import workspace_lock
from tasks.release import QUALIFICATION, manifest_sha256, verify_release
from tasks.tables import SPLITS, read_table

DEAD_SERVER = {"PREFECT_API_URL": "http://127.0.0.1:9/api"}


def sides(desk: Desk) -> dict[str, str]:
    table = read_table(desk.workspace.splits, SPLITS)
    return dict(zip(table["sha256"].to_pylist(), table["side"].to_pylist(), strict=True))


def test_a_released_run_leaves_a_whole_release_and_a_clean_workspace(released: Desk) -> None:
    code, result, stderr = released.adapt(**DEAD_SERVER)

    assert code == 0, stderr
    assert result["unchanged"] is True, "nothing changed, so Prefect (dead here) must not be needed"
    assert "nothing was computed" in stderr
    stored = released.root / result["release"]
    assert verify_release(stored, beside=(QUALIFICATION,)).metrics.accuracy.value == result["accuracy"]
    assert stored.name == manifest_sha256(stored)
    assert result["intervals"]["accuracy"]["low"] <= result["accuracy"] <= result["intervals"]["accuracy"]["high"]
    assert set(result["baselines"]) == {"majority", "raw_pixels"}
    assert json.loads(released.dvc("status", "--json")) == {}
    assert released.flow_runs() == [("Released", "COMPLETED", 1)]


def test_force_flow_runs_it_anyway_and_computes_nothing(released: Desk) -> None:
    before = released.results()

    code, result, stderr = released.adapt("--force-flow")

    assert (code, result["state"], result["unchanged"]) == (0, "released", False), stderr
    assert "Running stage" not in stderr
    assert released.results() == before


def test_a_refused_run_leaves_the_earlier_release_and_is_tried_once(released: Desk) -> None:
    (earlier,) = released.releases()
    retries = {"PREFECT_FLOWS_DEFAULT_RETRIES": "3", "PREFECT_TASKS_DEFAULT_RETRIES": "3"}

    code, result, stderr = released.adapt("--set", "gate.min_test_items=1000", **retries)

    assert (code, result["state"], result["release"]) == (2, "refused", None), stderr
    assert "gate.min_test_items" in result["reasons"][0]
    assert "Traceback" not in stderr
    assert released.releases() == [earlier]
    verify_release(earlier, beside=(QUALIFICATION,))
    assert released.flow_runs()[-1] == ("Refused", "FAILED", 1)
    alone = subprocess.run([sys.executable, "-m", "tasks.export"], cwd=released.root, capture_output=True, text=True)
    assert alone.returncode == 1
    assert "refused" in alone.stderr
    assert "Traceback" not in alone.stderr
    again, result, _ = released.adapt(**DEAD_SERVER)
    assert (again, result["unchanged"], result["release"]) == (2, True, None)


def test_a_broken_contract_is_refused_before_anything_is_computed(released: Desk) -> None:
    raw = released.root / "data" / "raw"
    shutil.copytree(raw / "ember", raw / "lava")

    code, result, stderr = released.adapt()

    assert (code, result["state"], result["stopped_in"]) == (2, "refused", "validate"), stderr
    assert "see reports/validation.html" in stderr
    assert not released.workspace.page.exists(), "a page about other data must not stand beside the refusal"
    assert any("validation.json" in reason for reason in result["reasons"])
    assert len(result["data_digest"]) == 64
    assert set(result["seconds"]) == {"validate"}
    assert "Traceback" not in stderr


def test_new_photos_cost_their_own_forward_passes_and_move_no_earlier_item(released: Desk) -> None:
    before = sides(released)
    add_pictures(released.root / "data" / "raw", 10, first_seed=500)

    code, _, stderr = released.adapt()

    assert code == 0, stderr
    assert "10 of 50 items to compute, 40 from the cache" in stderr
    after = sides(released)
    assert len(after) == 50
    assert {item: after[item] for item in before} == before


def test_dvc_shows_metrics_and_plots(released: Desk) -> None:
    metrics = json.loads(released.dvc("metrics", "show", "--json"))
    released.dvc("plots", "show", "--out", "plots")

    shown = metrics[""]["data"]["reports/metrics.json"]["data"]
    assert 0.0 <= shown["accuracy_low"] <= shown["accuracy"] <= shown["accuracy_high"] <= 1.0
    assert "actual" in (released.root / "plots" / "index.html").read_text()


def test_the_readme_script_gives_the_release_answers(released: Desk, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text("utf-8"), flags=re.DOTALL)
    script = tmp_path / "answer.py"
    script.write_text(blocks[0])
    (stored,) = released.releases()
    import pyarrow.parquet as pq

    rows = pq.read_table(released.workspace.predictions).to_pylist()[:5]
    assert len(rows) == 5
    for row in rows:
        photo = released.root / "data" / "raw" / row["path"]
        done = subprocess.run([sys.executable, script, stored, photo], capture_output=True, text=True, check=True)
        label, probability = done.stdout.splitlines()[0].split()
        assert label == row["predicted"]
        assert float(probability) == pytest.approx(row["probability"], abs=1e-4)


def test_plan_names_what_would_run_and_keeps_nothing(released: Desk) -> None:
    before = released.workspace.params.read_bytes()
    lock = released.workspace.splits_lock.read_bytes()
    assert released.graft("plan", "--set", "split.seed=7").returncode == 0
    assert released.workspace.splits_lock.read_bytes() == lock

    done = released.graft("plan", "--json", "--set", "gate.accuracy.minimum=0.7")

    assert done.returncode == 0, done.stderr
    steps = {step["stage"]: step for step in json.loads(done.stdout)}
    assert not steps["evaluate"]["runs"]
    assert steps["gate"]["reasons"] == ["params.yaml gate modified"]
    assert steps["qualify"]["runs"]
    assert released.workspace.params.read_bytes() == before
    assert all("nothing changed" in line for line in released.graft("plan").stdout.splitlines())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "backbone.nam=x"), "did you mean 'name'?"),
        (("--set", "backbone.name=resnet19"), "did you mean 'resnet18'?"),
        (("--set", "gate.accuracy.minimum=2"), "less than or equal to 1"),
        (("--data", "nowhere"), "does not exist"),
        (("--data", ""), "--data is empty"),
        (("--set", "backbone.weights=missing.pth"), "does not exist"),
    ],
)
def test_a_users_mistake_gets_one_message_and_changes_nothing(
    released: Desk, arguments: tuple[str, ...], said: str
) -> None:
    before = released.workspace.params.read_bytes()

    done = released.graft("adapt", *arguments)

    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert released.workspace.params.read_bytes() == before


def test_the_last_line_of_stdout_is_the_release(released: Desk) -> None:
    done = released.graft("adapt", **DEAD_SERVER)

    assert done.returncode == 0
    verify_release(released.root / done.stdout.splitlines()[-1], beside=(QUALIFICATION,))


@pytest.mark.parametrize("arguments", [("adapt", "--dta", "x"), ("nothing",)])
def test_a_usage_error_is_no_refusal(released: Desk, arguments: tuple[str, ...]) -> None:
    done = released.graft(*arguments)

    assert done.returncode == 1
    assert "--help" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_busy_workspace_keeps_its_params(released: Desk) -> None:
    before = released.workspace.params.read_bytes()

    with workspace_lock(released.workspace, "the other run"):
        done = released.graft("adapt", "--set", "gate.accuracy.minimum=0.99")

    assert done.returncode == 1
    assert "the other run" in done.stderr
    assert released.workspace.params.read_bytes() == before


def test_an_unreachable_server_is_named_with_the_mend(released: Desk) -> None:
    code, result, stderr = released.adapt("--force-flow", **DEAD_SERVER)

    assert (code, result["state"]) == (1, "failed")
    assert "PREFECT_API_URL" in result["reasons"][0]
    assert "Traceback" not in stderr


def test_data_add_brings_a_folder_under_dvc_and_again_what_is_new(released: Desk, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.move(released.root / "data" / "raw", source)

    first = released.graft("data", "add", str(source))
    add_pictures(source, 4, first_seed=900)
    second = released.graft("data", "add", str(source))

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "40 new files" in first.stderr
    assert "4 new files" in second.stderr
    assert (released.root / "data" / "raw.dvc").is_file()
    assert len(list((released.root / "data" / "raw").rglob("*.png"))) == 44


def test_data_check_judges_without_a_run(released: Desk) -> None:
    good = released.graft("data", "check", "data/raw", "--json")
    (released.root / "data" / "raw" / "ember" / "broken.png").write_bytes(b"no picture")
    bad = released.graft("data", "check", "data/raw")

    assert good.returncode == 0
    assert json.loads(good.stdout)["accepted"] == 40
    assert "ember/broken.png" in bad.stdout


def test_doctor_finds_nothing_wrong_and_names_a_dangerous_cache(released: Desk) -> None:
    well = released.graft("doctor", "--json")
    with (released.root / ".dvc" / "config.local").open("a") as config:
        config.write('[cache]\n    type = "hardlink,symlink"\n')
    ill = released.graft("doctor")

    assert well.returncode == 0, well.stdout
    assert {finding["check"] for finding in json.loads(well.stdout)} >= {
        "python",
        "pins",
        "disk",
        "cache",
        "gpu",
        "remote",
    }
    assert ill.returncode == 1
    assert "dvc config --local cache.type reflink,copy" in ill.stdout
