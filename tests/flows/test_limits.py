"""What is checked before a run starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_workspace import Toy

from flows import limits
from flows.doctor import examine
from flows.limits import check_limits, shortfalls, thread_warnings
from tasks.errors import WorkspaceError
from tasks.params import parse_params
from tasks.threads import usable_cores

GB = 10**9


@pytest.fixture
def small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """3 GB of memory and 2 GB of disk."""
    monkeypatch.setattr(limits, "available_bytes", lambda: 3 * GB)
    monkeypatch.setattr(limits, "free_bytes", lambda place: 2 * GB)


def test_a_machine_that_has_it_all_is_fit(toy: Toy, small_machine: None) -> None:
    params = parse_params({"limits": {"memory_gb": 3, "free_disk_gb": 2, "threads": 1}})
    assert check_limits(toy.workspace, params, limits.EVERYTHING) == []


def test_every_shortfall_of_every_due_stage_is_named_at_once_with_the_mend(toy: Toy, small_machine: None) -> None:
    params = parse_params(
        {
            "limits": {
                "free_disk_gb": 5,
                "stages": {"embed": {"memory_gb": 8}, "adapt": {"memory_gb": 4}, "publish": {"free_disk_gb": 9}},
            }
        }
    )
    with pytest.raises(WorkspaceError) as raised:
        check_limits(toy.workspace, params, ["embed", "adapt", "gate", "publish"])
    disk, store, embed, adapt = str(raised.value).splitlines()[1:]
    assert "nothing was run" in str(raised.value)
    assert "embed, adapt, gate: 2 GB of disk are free" in disk
    assert "limits.free_disk_gb wants 5; free 3 GB" in disk
    assert "publish: " in store
    assert "limits.stages.publish.free_disk_gb wants 9" in store
    assert "embed: 3 GB of memory are available, limits.stages.embed.memory_gb is 8" in embed
    assert "adapt: 3 GB of memory are available, limits.stages.adapt.memory_gb is 4" in adapt


def test_a_stage_that_is_not_due_asks_for_nothing(toy: Toy, small_machine: None) -> None:
    params = parse_params({"limits": {"stages": {"embed": {"memory_gb": 8}}}})
    assert shortfalls(toy.workspace, params, ["gate", "publish"]) == []


def test_the_disk_of_the_release_store_is_looked_at_although_it_is_not_there_yet(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(limits, "free_bytes", lambda place: asked.append(place) or 0)
    params = parse_params({"publish": {"store": str(tmp_path / "far" / "store")}})
    assert len(shortfalls(toy.workspace, params, ["publish"])) == 1
    assert asked == [tmp_path / "far" / "store"]


def test_more_threads_than_cores_are_a_warning(toy: Toy, small_machine: None) -> None:
    many = usable_cores() + 1
    params = parse_params({"limits": {"stages": {"embed": {"threads": many}}}})
    (line,) = thread_warnings(params, limits.EVERYTHING)
    assert f"limits.stages.embed.threads = {many}: more threads than the {usable_cores()} cores" in line
    assert check_limits(toy.workspace, params, limits.EVERYTHING) == [line]


@pytest.mark.parametrize(
    ("method", "notes"),
    [
        ({"name": "linear_probe"}, 0),
        ({"name": "fine_tune"}, 1),
        ({"name": "fine_tune", "frozen_cache_gb": 2}, 0),
        ({"name": "fine_tune", "keep_frozen": "never"}, 0),
        ({"name": "fine_tune", "blocks": "all"}, 0),
        ({"name": "from_scratch"}, 0),
    ],
)
def test_room_for_fewer_activations_than_training_may_keep_is_a_note(
    toy: Toy, small_machine: None, method: dict[str, object], notes: int
) -> None:
    params = parse_params({"adapt": {"method": method}})
    found = check_limits(toy.workspace, params, ["adapt"])
    assert len(found) == notes
    assert all("up to 4 GB of activations (adapt.method.frozen_cache_gb), and" in line for line in found)
    assert all("has room for 2 GB; lower adapt.method.frozen_cache_gb" in line for line in found)
    assert check_limits(toy.workspace, params, ["gate"]) == []


def test_activations_that_are_there_make_room_for_others(toy: Toy, small_machine: None) -> None:
    params = parse_params({"adapt": {"method": {"name": "fine_tune", "frozen_cache_gb": 2.000001}}})
    assert len(check_limits(toy.workspace, params, ["adapt"])) == 1
    file = toy.workspace.cache / "activations" / "key" / "000000-x.f32"
    file.parent.mkdir(parents=True)
    file.write_bytes(bytes(1000))
    assert check_limits(toy.workspace, params, ["adapt"]) == []


def test_doctor_tells_of_the_room_for_activations_without_calling_it_wrong(toy: Toy, small_machine: None) -> None:
    (toy.root / "params.yaml").write_text("adapt: {method: {name: fine_tune}}\n")
    found = {finding.check: finding for finding in examine(toy.workspace)}
    assert found["disk"].state == "note"
    assert "adapt.method.frozen_cache_gb" in found["disk"].detail
    assert found["disk"].mend.startswith("lower adapt.method.frozen_cache_gb")


def test_a_training_needs_disk_where_the_cache_lies(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path / "cache"))
    probe = parse_params({"adapt": {"from_scratch": "never"}})
    training = parse_params({"adapt": {"method": {"name": "fine_tune"}}})
    written = [limits.places_written(toy.workspace, params, "adapt")[2:] for params in (probe, training)]
    assert written == [[], [tmp_path / "cache"]]


def test_doctor_shows_what_a_run_would_be_short_of(toy: Toy, small_machine: None) -> None:
    (toy.root / "params.yaml").write_text(
        "limits: {threads: 999, stages: {embed: {memory_gb: 8}, publish: {free_disk_gb: 9}}}\n"
    )
    found = {finding.check: finding for finding in examine(toy.workspace)}
    assert (found["disk"].state, found["memory"].state, found["threads"].state) == ("wrong", "wrong", "note")
    assert "limits.stages.publish.free_disk_gb wants 9" in found["disk"].detail
    assert "free 7 GB" in found["disk"].mend
    assert "limits.stages.embed.memory_gb is 8" in found["memory"].detail


def test_doctor_names_params_of_the_version_before_once_with_the_command_that_mends_them(toy: Toy) -> None:
    (toy.root / "params.yaml").write_text("schema_version: 1\n")
    found = {finding.check: finding for finding in examine(toy.workspace)}
    assert found["params"].state == "wrong"
    assert found["params"].detail.endswith("has schema_version 1, this Graft reads 2")
    assert found["params"].mend.startswith("`graft migrate`")
    assert found["disk"].state == "note"
    assert "schema_version" not in found["disk"].detail


def test_sizes_are_written_without_an_exponent(toy: Toy, small_machine: None) -> None:
    params = parse_params({"limits": {"free_disk_gb": 1e6, "memory_gb": 99999.5}})
    disk, memory = shortfalls(toy.workspace, params, ["gate"])
    assert "wants 1000000; free 999998 GB" in disk
    assert "is 99999.5; end" in memory
