"""An object of DVC's cache whose bytes were changed on disk never becomes the result of a stage."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from toy_workspace import Toy

from flows.restored_outs import altered_objects, throw_away


def cache_object(toy: Toy, md5: str) -> Path:
    return toy.root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def md5_of(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def alter(file: Path) -> None:
    """One bit of a file that is read-only, and stays so."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    mode = file.stat().st_mode
    file.chmod(0o644)
    file.write_bytes(content)
    file.chmod(mode)


def test_an_altered_object_is_thrown_away_and_the_stage_run_anew(finished: Toy) -> None:
    out = finished.root / "data/one.txt"
    before = out.read_bytes()
    kept = cache_object(finished, md5_of(before))
    assert kept.stat().st_mode & 0o777 == 0o444, "DVC checks what is not read-only by itself"
    alter(kept)
    out.unlink()
    lines: list[str] = []
    result = finished.run("one", "later", on_line=lines.append)
    assert (result.state, out.read_bytes()) == ("done", before)
    assert kept.read_bytes() == before
    (line,) = [line for line in lines if "altered on disk" in line]
    assert line.startswith("DVC's copy of data/one.txt was altered on disk (")
    assert line.endswith("it was thrown away; one is run anew")
    assert finished.run("one", "again").state == "unchanged"


def test_a_missing_object_has_the_stage_run_anew(finished: Toy) -> None:
    out = finished.root / "data/one.txt"
    before = out.read_bytes()
    cache_object(finished, md5_of(before)).unlink()
    out.unlink()
    assert finished.run("one", "later").state == "done"
    assert out.read_bytes() == before
    assert cache_object(finished, md5_of(before)).read_bytes() == before


def test_an_untouched_object_is_brought_back_without_a_word(finished: Toy) -> None:
    (finished.root / "data/one.txt").unlink()
    lines: list[str] = []
    assert finished.run("one", "later", on_line=lines.append).state == "unchanged"
    assert not [line for line in lines if "altered" in line]


@pytest.fixture
def with_folder(finished: Toy) -> tuple[Toy, str]:
    """A stage whose out is a folder of two files, and the md5 of their list, as DVC keeps them."""
    folder, entries = finished.root / "data" / "both", []
    for name, content in (("a", b"first"), ("deep/b", b"second")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        entries.append({"md5": md5_of(content), "relpath": name})
    listing = json.dumps(entries).encode()
    md5 = f"{md5_of(listing)}.dir"
    cache_object(finished, md5).parent.mkdir(parents=True, exist_ok=True)
    cache_object(finished, md5).write_bytes(listing)
    lock, yaml = finished.workspace.dvc_lock, YAML(typ="safe")
    document = yaml.load(lock.read_text())
    document["stages"]["one"]["outs"] = [{"path": "data/both", "hash": "md5", "md5": md5, "nfiles": 2}]
    yaml.dump(document, lock)
    return finished, md5


def test_in_a_folder_the_altered_file_is_named(with_folder: tuple[Toy, str]) -> None:
    toy, _ = with_folder
    assert altered_objects(toy.workspace, "one") == {}
    alter(toy.root / "data/both/deep/b")
    assert altered_objects(toy.workspace, "one") == {md5_of(b"second"): toy.root / "data/both/deep/b"}


def test_an_altered_list_of_files_is_found(with_folder: tuple[Toy, str]) -> None:
    toy, md5 = with_folder
    alter(cache_object(toy, md5))
    assert altered_objects(toy.workspace, "one") == {md5: toy.root / "data" / "both"}
    (line,) = throw_away(toy.workspace, altered_objects(toy.workspace, "one"))
    assert "DVC's copy of data/both was altered" in line
    assert not cache_object(toy, md5).exists()
