"""What a server begins with, and how it follows `prod` and `shadow`."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from release_scene import add_release, point
from reload_scene import spoilt_release
from small_release import seal, truncate
from spoilt_releases import SPOILT

from deploy.engine import Engine
from deploy.metrics import Metrics
from deploy.settings import Settings
from deploy.watch import Watch, load_first
from tasks.errors import ReleaseError
from tasks.opened_release import OpenedRelease
from tasks.params import ServeParams
from tasks.reports.prod_pointer import ProdPointer


class Server:
    """An engine and its watch, looked at by hand."""

    def __init__(self, store: Path, **knobs: object) -> None:
        self.settings = Settings(ServeParams.model_validate(knobs), store)
        self.metrics = Metrics()
        self.engine = Engine(load_first(self.settings), self.settings.serve, self.metrics)
        self.watch = Watch(self.settings, self.engine, self.metrics)

    @property
    def version(self) -> str:
        return self.engine.model.version

    def count(self, series: str) -> float:
        lines = self.metrics.exposition().decode().splitlines()
        return float(next(line for line in lines if line.startswith(series)).split()[1])

    def reloads(self, outcome: str, pointer: str = "prod") -> float:
        return self.count(f'graft_reloads_total{{outcome="{outcome}",pointer="{pointer}"}}')

    def refused(self, pointer: str) -> float:
        return self.count(f'graft_pointer_refused{{pointer="{pointer}"}}')


@pytest.fixture
def server(store: Path) -> Server:
    return Server(store)


def test_a_promotion_reaches_the_engine_and_is_told_and_counted(
    server: Server, store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    point(store, add_release(store, 1), 2)
    with caplog.at_level(logging.INFO, "graft.watch"):
        server.watch.look()
        server.watch.look()
    assert (server.version, server.reloads("accepted"), server.reloads("refused")) == ("2", 1, 0)
    assert [record.getMessage()[:2] for record in caplog.records] == ["v2"]


def test_the_number_of_classes_may_change(server: Server, store: Path) -> None:
    point(store, add_release(store, 1, labels=("ember", "meadow", "ocean", "snow")), 2)
    server.watch.look()
    assert server.engine.model.labels == ["ember", "meadow", "ocean", "snow"]


@pytest.mark.parametrize(("spoil", "reason"), SPOILT)
def test_a_bad_release_is_refused_once_with_its_reason_and_the_old_one_kept(
    server: Server, store: Path, spoil: Callable[[Path], object], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = server.engine.model
    point(store, spoilt_release(store, 1, spoil), 2)
    with caplog.at_level(logging.INFO, "graft.watch"):
        for _ in range(5):
            server.watch.look()
    assert server.engine.model is before
    assert (server.reloads("accepted"), server.reloads("refused")) == (0, 1)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("v2 is refused, v1 goes on answering: ")
    assert reason in line
    assert "\n" not in line
    point(store, before.digest, 1, number=3)
    server.watch.look()
    point(store, add_release(store, 2), 3)
    server.watch.look()
    assert server.version == "3"


def test_a_release_under_another_ones_name_is_refused(server: Server, store: Path) -> None:
    first, second = add_release(store, 1), add_release(store, 2)
    shutil.rmtree(store / first)
    shutil.copytree(store / second, store / first)
    point(store, first, 2)
    server.watch.look()
    assert (server.version, server.reloads("refused")) == ("1", 1)


def test_a_pointer_that_vanished_or_cannot_be_read_changes_nothing(
    server: Server, store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = (store / "prod").read_bytes()
    with caplog.at_level(logging.INFO, "graft.watch"):
        (store / "prod").unlink()
        server.watch.look()
        server.watch.look()
        (store / "prod").write_bytes(kept[:10])
        server.watch.look()
        server.watch.look()
    assert server.version == "1"
    assert [record.getMessage() for record in caplog.records] == [
        f"{store / 'prod'} is gone; v1 goes on answering",
        next(record.getMessage() for record in caplog.records if "names a release" in record.getMessage()),
    ]
    assert server.reloads("refused") == 0
    point(store, add_release(store, 1), 2)
    server.watch.look()
    assert server.version == "2"


def test_a_store_that_vanished_changes_nothing(server: Server, store: Path) -> None:
    store.rename(store.with_name("away"))
    server.watch.look()
    assert server.version == "1"
    store.with_name("away").rename(store)
    point(store, add_release(store, 1), 2)
    server.watch.look()
    assert server.version == "2"


def test_the_shadow_comes_changes_and_goes_with_its_pointer(server: Server, store: Path) -> None:
    shadow = server.engine.shadow
    try:
        server.watch.look()
        assert shadow.model is None
        point(store, add_release(store, 1), 2, pointer="shadow")
        server.watch.look()
        assert shadow.model is not None
        assert shadow.model.version == "2"
        point(store, spoilt_release(store, 2, truncate), 3, pointer="shadow")
        server.watch.look()
        assert shadow.model.version == "2"
        (store / "shadow").unlink()
        server.watch.look()
        assert shadow.model is None
        assert server.version == "1"
    finally:
        shadow.close()


def test_a_pointer_that_is_not_followed_is_shown_until_it_is(server: Server, store: Path) -> None:
    def shown() -> tuple[float, float]:
        server.watch.look()
        server.watch.look()
        return server.refused("prod"), server.refused("shadow")

    try:
        assert shown() == (0, 0)
        point(store, spoilt_release(store, 1, truncate), 2)
        assert shown() == (1, 0)
        point(store, spoilt_release(store, 2, truncate), 3, pointer="shadow")
        assert shown() == (1, 1)
        assert (server.reloads("refused"), server.reloads("refused", "shadow")) == (1, 1)
        point(store, add_release(store, 3), 4)
        assert shown() == (0, 1)
        point(store, add_release(store, 4), 5, pointer="shadow")
        assert shown() == (0, 0)
        assert server.reloads("accepted", "shadow") == 1
        (store / "prod").write_text("{")
        assert shown() == (1, 0)
        point(store, add_release(store, 3), 4, number=5)
        (store / "shadow").unlink()
        assert shown() == (0, 0)
    finally:
        server.engine.shadow.close()


def test_a_fault_that_lasts_is_told_once_and_again_when_it_is_another(
    server: Server, store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def change(pointer: ProdPointer) -> None:
        raise PermissionError(13, text)

    text = "Permission denied"
    monkeypatch.setattr(server.watch._prod, "change", change)
    with caplog.at_level(logging.INFO, "graft.watch"):
        for _ in range(3):
            server.watch.look()
        text = "Operation not permitted"
        server.watch.look()
        monkeypatch.undo()
        server.watch.look()
    assert [record.exc_info is not None for record in caplog.records] == [True, True]
    assert {record.getMessage() for record in caplog.records} == {
        "prod of the store could not be looked at; the server goes on as it was"
    }


def test_what_answers_already_is_its_own_shadow_without_a_second_copy(server: Server, store: Path) -> None:
    point(store, server.engine.model.digest, 1, pointer="shadow")
    server.watch.look()
    assert server.engine.shadow.model is not None
    assert server.engine.shadow.model.opened is server.engine.model.opened
    server.engine.shadow.close()


def test_the_thread_follows_by_itself_and_ends(store: Path) -> None:
    server = Server(store, watch_seconds=0.05)
    server.watch.start()
    point(store, add_release(store, 1), 2)
    until = time.monotonic() + 30
    while server.version != "2" and time.monotonic() < until:
        time.sleep(0.01)
    server.watch.stop()
    assert server.version == "2"
    assert "watch" not in [thread.name for thread in threading.enumerate()]


def test_a_release_folder_is_followed_by_nothing(store: Path, release: Path) -> None:
    settings = Settings(ServeParams(watch_seconds=0.05), store, release)
    model = load_first(settings)
    engine = Engine(model, settings.serve, Metrics())
    watch = Watch(settings, engine, Metrics())
    watch.start()
    assert "watch" not in [thread.name for thread in threading.enumerate()]
    watch.stop()
    assert model.version == model.digest[:12]


def test_the_first_release_is_what_prod_names(store: Path) -> None:
    model = load_first(Settings(ServeParams(), store))
    assert (model.version, model.digest) == ("1", ProdPointer.read(store / "prod").manifest_sha256)
    assert model.card.startswith("# made-up")


def test_without_a_store_or_a_promotion_the_message_says_what_to_do(tmp_path: Path, store: Path) -> None:
    with pytest.raises(ReleaseError, match=r"there is no release store .*nowhere: `graft adapt --publish` makes it"):
        load_first(Settings(ServeParams(), tmp_path / "nowhere"))
    digest = ProdPointer.read(store / "prod").manifest_sha256
    (store / digest).rename(tmp_path / "gone")
    with pytest.raises(ReleaseError, match=r"names release [0-9a-f]{12} \(v1\), which is not in the store"):
        load_first(Settings(ServeParams(), store))
    (store / "prod").unlink()
    with pytest.raises(ReleaseError, match=r"nothing is in production in .*: `graft promote VERSION --reason TEXT`"):
        load_first(Settings(ServeParams(), store))


def test_a_bad_release_is_no_beginning(store: Path) -> None:
    truncate(store / ProdPointer.read(store / "prod").manifest_sha256)
    with pytest.raises(ReleaseError, match="altered or truncated"):
        load_first(Settings(ServeParams(), store))


def test_a_release_of_a_workspace_needs_its_qualification_beside_it(
    release: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "workspace" / "models" / "release"
    shutil.copytree(release, place)
    (place / "qualification.json").unlink()
    settings = Settings(ServeParams(), tmp_path / "store", place)
    with pytest.raises(ReleaseError, match=r"has no qualification\.json, and only a qualified release is served"):
        load_first(settings)
    reports = tmp_path / "workspace" / "reports"
    reports.mkdir()
    shutil.copy(release / "qualification.json", reports)
    with caplog.at_level(logging.INFO, "graft.watch"):
        assert load_first(settings).labels == OpenedRelease(place).labels
    assert f"is qualified by {reports / 'qualification.json'}" in caplog.text
    seal(place, seed=5)
    (place / "qualification.json").unlink()
    with pytest.raises(ReleaseError, match="is of another release"):
        load_first(settings)


def test_a_folder_that_is_no_release_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"holds no release \(no manifest\.json\); --release names"):
        load_first(Settings(ServeParams(), tmp_path, tmp_path))


def test_where_a_key_is_configured_an_unsigned_release_is_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="verify_key"):
        load_first(Settings(ServeParams(verify_key=str(tmp_path / "key.pub")), store))
