"""What the measurements of fine-tuning are made of, on tiny inputs; nothing here asserts a time."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from benchmarks import (
    epoch_seconds,
    file_blocks,
    fine_tune_accuracy,
    fine_tune_race,
    label_efficiency,
    tutorial_recipe,
)
from benchmarks.kept_runs import KeptRuns
from tasks.intervals import paired_gain_interval
from tasks.tables import SPLITS


def photos(folder: Path, count: int) -> Path:
    for number in range(count):
        target = folder / ("bee" if number % 2 else "ant")
        target.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(target / f"{number}.jpg")
    return folder


def sides(folder: Path, file: Path, order: list[str]) -> Path:
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["path", "label", "side"])
        for number, photo in enumerate(sorted(folder.glob("*/*.jpg"))):
            writer.writerow([photo.relative_to(folder), photo.parent.name, order[number % len(order)]])
    return file


# the recipe


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from torchvision.models import mobilenet_v2

    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "mobilenet_v2.pth"
    torch.save(mobilenet_v2().state_dict(), file)
    return file


def recipe(
    folder: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: str
) -> dict[str, Any]:
    pack = photos(folder / "pack", 8)
    table = sides(pack, folder / "sides.csv", ["train", "train", "validation", "test"])
    command = ["tutorial_recipe", pack, table, weights, "--epochs", "2", "--batch", "2", *options]
    monkeypatch.setattr("sys.argv", [str(part) for part in command])
    tutorial_recipe.main()
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def test_the_recipe_chooses_its_epoch_on_validation_and_is_judged_on_the_test_side(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = recipe(tmp_path, weights, monkeypatch, capsys, "--log", str(tmp_path / "log"))
    assert told["items"] == {"train": 4, "validation": 2, "test": 2}
    assert told["chosen_on"] == "validation"
    assert [epoch["number"] for epoch in told["epochs"]] == [1, 2]
    assert told["chosen"]["validation"] == max(epoch["validation"] for epoch in told["epochs"])
    seconds = [epoch["seconds"] for epoch in told["epochs"]]
    assert 0 < seconds[0] < seconds[1]
    logged = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert logged == told["epochs"]


def test_as_in_the_tutorial_the_recipe_learns_from_both_sides_and_chooses_on_the_test_photos(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = recipe(tmp_path, weights, monkeypatch, capsys, "--choose-on", "test", "--freeze-batch-norm")
    assert told["items"] == {"train": 6, "validation": 0, "test": 2}
    assert told["chosen"]["validation"] is None
    assert told["chosen"]["test"] == max(epoch["test"] for epoch in told["epochs"])


def test_without_a_validation_side_the_recipe_says_how_to_do_without() -> None:
    rows = [{"side": "train"}, {"side": "test"}]
    with pytest.raises(SystemExit, match="--choose-on test"):
        tutorial_recipe.by_side(rows, "validation")
    assert len(tutorial_recipe.by_side(rows, "test")["train"]) == 1


@pytest.mark.parametrize(("freeze", "moved"), [(True, False), (False, True)])
def test_batch_norms_statistics_stay_only_where_they_are_frozen(freeze: bool, moved: bool) -> None:
    import torch
    from torch import nn
    from torch.utils.data import DataLoader

    torch.manual_seed(0)
    norm, head = nn.BatchNorm2d(2), nn.Linear(8, 2)
    network = nn.Sequential(nn.Conv2d(1, 2, 1), norm, nn.Flatten(), head)
    before = norm.state_dict()["running_mean"].clone(), head.weight.detach().clone()
    items: Any = [(torch.randn(1, 2, 2), label) for label in (0, 1, 0, 1)]
    batch: Any = DataLoader(items, 2)
    tutorial_recipe.train_epoch(network, batch, torch.optim.SGD(network.parameters(), lr=0.1), freeze)
    assert torch.equal(norm.state_dict()["running_mean"], before[0]) is not moved
    assert not torch.equal(head.weight, before[1])


def test_the_first_of_equally_good_epochs_is_chosen() -> None:
    epochs = [tutorial_recipe.Epoch(1, 1.0, 0.5, 0.9), *(tutorial_recipe.Epoch(n, n, 0.8, n / 10) for n in (2, 3))]
    assert tutorial_recipe.chosen_epoch(epochs).number == 2


def test_what_is_off_the_clock_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = tutorial_recipe.Clock()
    now = [clock.started]
    monkeypatch.setattr("time.time", lambda: now[0])
    now[0] += 10
    with clock.pause(wanted=True):
        now[0] += 100
    with clock.pause(wanted=False):
        now[0] += 1000
    assert clock.seconds() == pytest.approx(1010)


# the race


def told_by_recipe(chosen_seconds: float, last_seconds: float, accuracy: float) -> dict[str, Any]:
    chosen = {"number": 1, "seconds": chosen_seconds, "validation": 1.0, "test": accuracy}
    last = {"number": 2, "seconds": last_seconds, "validation": 0.5, "test": 0.1}
    return {"chosen": chosen, "epochs": [chosen, last], "items": {"test": 50}}


def test_the_race_compares_within_a_round_and_tells_the_recipes_chosen_epoch_apart() -> None:
    corridor = [
        {"stages": {"adapt": seconds, "embed": 2.0}, "accuracy": accuracy, "test_items": 50}
        for seconds, accuracy in ((8.0, 0.9), (98.0, 1.0))
    ]
    recipes = [told_by_recipe(20.0, 40.0, 0.92), told_by_recipe(200.0, 400.0, 0.94)]
    cases = {fine_tune_race.FINE_TUNE: corridor, fine_tune_race.TRAINED: recipes, fine_tune_race.FROZEN: recipes}
    runs = {case: [fine_tune_race.Run.of(case, told) for told in rounds] for case, rounds in cases.items()}
    race = fine_tune_race.Race("bees", runs)
    assert race.times_faster(fine_tune_race.FINE_TUNE, fine_tune_race.TRAINED) == 4.0
    assert race.times_faster_to_chosen(fine_tune_race.FINE_TUNE, fine_tune_race.TRAINED) == 2.0
    assert race.accuracy(fine_tune_race.TRAINED) == pytest.approx(0.93)
    assert "| bees: corridor, fine_tune | 55.0 (10.0 to 100.0) | 55.0 | 4.0 / 4.0 | 2.0 / 2.0 | 0.950 of 50 |" in (
        fine_tune_race.table([race])
    )


def test_fastai_is_timed_by_itself() -> None:
    told = {"seconds": 3.0, "accuracy": 0.9, "test_items": 50}
    assert fine_tune_race.Run.of(fine_tune_race.FASTAI, told) == fine_tune_race.Run(3.0, 3.0, 0.9, 50)


# runs that are kept


def test_a_kept_run_is_not_measured_again_and_half_a_line_is_passed_over(tmp_path: Path) -> None:
    kept = KeptRuns(tmp_path / "runs" / "kept.jsonl")
    measured = []

    def measure() -> dict[str, Any]:
        measured.append(1)
        return {"accuracy": len(measured) / 10}

    assert kept.run({"seed": 0}, measure) == {"accuracy": 0.1}
    with (tmp_path / "runs" / "kept.jsonl").open("a") as file:
        file.write('{"key": {"seed": 1}, "to')
    assert kept.run({"seed": 1}, measure) == {"accuracy": 0.2}
    again = KeptRuns(tmp_path / "runs" / "kept.jsonl")
    assert [again.run({"seed": seed}, measure)["accuracy"] for seed in (0, 1)] == [0.1, 0.2]
    assert len(measured) == 2
    assert KeptRuns(None).run({"seed": 0}, measure) == {"accuracy": 0.3}


# accuracy by seeds


def found(wrong: list[list[str]], groups: dict[str, str]) -> fine_tune_accuracy.Found:
    probe = {"accuracy": 0.5, "wrong": ["a", "b"], "groups": groups}
    seeds = {
        seed: {"accuracy": 1 - len(paths) / len(groups), "wrong": paths, "method": "fine_tune"}
        for seed, paths in enumerate(wrong)
    }
    recipes = {fine_tune_race.FROZEN: {0: {"chosen": {"test": 0.75}}}}
    return fine_tune_accuracy.Found(fine_tune_accuracy.Pack(Path("signs")), probe, {"": seeds}, recipes)


def test_gains_are_paired_by_item_and_by_seed() -> None:
    one = found([["a"], ["a", "c"]], dict.fromkeys("abcd", "all"))
    probe = np.array([False, False, True, True])
    assert one.gains("") == [
        paired_gain_interval(np.array([False, True, True, True]), probe),
        paired_gain_interval(np.array([False, True, False, True]), probe),
    ]
    assert one.mean_gain("")[0] == pytest.approx(0.125)
    shown = fine_tune_accuracy.table([one])
    assert "| signs: fine_tune | 2 | 0.625 (0.500 to 0.750) |" in shown
    assert "| signs: recipe, batch-norm frozen | 1 | 0.750 |" in shown


def test_the_gains_interval_is_of_groups_not_of_items() -> None:
    values = np.array([0.0, 1.0] * 50)
    alone = fine_tune_accuracy.resampled_mean(values, [str(place) for place in range(100)])
    grouped = fine_tune_accuracy.resampled_mean(values, [str(place % 2) for place in range(100)])
    assert alone[0] == pytest.approx(0.4, abs=0.02)
    assert grouped == (0.0, 1.0)
    assert fine_tune_accuracy.resampled_mean(values, ["one"] * 100) == (0.5, 0.5)


# blocks of file numbers


def test_a_block_ends_only_where_another_person_begins() -> None:
    people = [digit for _ in range(6) for digit in (1, 2, 3, 4, 5, 6, 7, 8, 9, 0)]
    shown = list(enumerate(people))
    assert file_blocks.blocks(shown, size=15) == [0] * 20 + [1] * 20 + [2] * 20
    del shown[9]
    assert file_blocks.blocks(shown, size=15) == [0] * 19 + [1] * 20 + [2] * 20


def test_the_table_of_blocks_names_every_photo_once(tmp_path: Path) -> None:
    for digit in range(10):
        (tmp_path / "signs" / str(digit)).mkdir(parents=True)
    for number in range(100):
        (tmp_path / "signs" / str((number + 1) % 10) / f"IMG_{1000 + number}.jpg").touch()
    (tmp_path / "signs" / "1" / "note.txt").touch()
    assert file_blocks.write_table(tmp_path / "signs", tmp_path / "table.csv") == 3
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len({row["path"] for row in rows}) == 100
    assert all(row["path"].startswith(f"{row['label']}/") for row in rows)
    assert [sum(row["group"] == f"block {block}" for row in rows) for block in range(3)] == [40, 40, 20]
    (tmp_path / "signs" / "1" / "nameless.jpg").touch()
    with pytest.raises(ValueError, match="no file number"):
        file_blocks.write_table(tmp_path / "signs", tmp_path / "table.csv")


# labels per class


def split_rows() -> list[dict[str, Any]]:
    order = ["train"] * 6 + ["validation"] * 2 + ["test"] * 3 + ["left_out"]
    return [
        {"path": f"{label}/{place}", "sha256": "0", "label": label, "label_index": index, "side": side}
        for index, label in enumerate(("ant", "bee"))
        for place, side in enumerate(order)
    ]


def test_a_draw_takes_its_labels_of_each_class_and_leaves_the_test_side_alone() -> None:
    rows = split_rows()
    few, many = (label_efficiency.drawn(rows, labels, draw=0) for labels in (2, 5))
    for sides_, labels in ((few, 2), (many, 5)):
        for label in ("ant", "bee"):
            assert sum(s == "train" for s, row in zip(sides_, rows, strict=True) if row["label"] == label) == labels
        assert [s == "test" for s in sides_] == [row["side"] == "test" for row in rows]
        assert "validation" not in sides_
        assert all(s != "train" for s, row in zip(sides_, rows, strict=True) if row["side"] == "left_out")
    assert {place for place, s in enumerate(few) if s == "train"} < {p for p, s in enumerate(many) if s == "train"}
    assert few != label_efficiency.drawn(rows, 2, draw=1)
    with pytest.raises(ValueError, match="ant has 8 items"):
        label_efficiency.drawn(rows, 9, draw=0)


def test_a_dealt_table_is_one_of_stage_split() -> None:
    table = pa.Table.from_pylist([{"group": None, "reason": None, **row} for row in split_rows()], schema=SPLITS)
    dealt = label_efficiency.deal(table, 2, draw=0)
    assert dealt.schema.equals(SPLITS)
    assert dealt["side"].to_pylist() == label_efficiency.drawn(split_rows(), 2, draw=0)
    assert all(
        (side == "left_out") == (reason is not None)
        for side, reason in zip(dealt["side"].to_pylist(), dealt["reason"].to_pylist(), strict=True)
    )


def test_the_plot_has_a_panel_for_each_pack_and_is_the_same_each_time(tmp_path: Path) -> None:
    curves = [
        label_efficiency.Curve(
            pack, 350, {labels: {method: [0.5, 0.9] for method in label_efficiency.METHODS} for labels in (1, 50)}
        )
        for pack in ("dogs_cats", "hymenoptera")
    ]
    for name in ("one.svg", "two.svg"):
        label_efficiency.draw_plot(curves, tmp_path / name)
    text = (tmp_path / "one.svg").read_text()
    assert text == (tmp_path / "two.svg").read_text()
    words = "".join(ElementTree.fromstring(text).itertext())
    assert all(shown in words for shown in ("dogs_cats (350 test items)", "hymenoptera", *label_efficiency.METHODS))
    assert "| dogs_cats, 50 a class | 0.700 (0.500 to 0.900) |" in label_efficiency.table(curves)


# seconds per epoch


def test_an_epochs_ratio_is_to_the_plain_loop_and_to_the_one_in_the_same_numbers() -> None:
    found_ = {
        epoch_seconds.case_name("plain loop", "fp32", "contiguous"): [{"start": 0.0, "epochs": [99.0, 8.0, 8.0]}],
        epoch_seconds.case_name("plain loop", "bf16", "channels_last"): [{"start": 0.0, "epochs": [99.0, 4.0, 4.0]}],
        epoch_seconds.case_name("fine_tune, prefix kept", "bf16", "channels_last"): [
            {"start": 3.0, "epochs": [5.0, 1.0, 1.0]}
        ],
    }
    shown = epoch_seconds.table(found_)
    assert "| fine_tune, prefix kept, bf16, channels_last | 1.00 (1.00 to 1.00) | 8.0 | 4.0 | 3.0 | 5.0 |" in shown
