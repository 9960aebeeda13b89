"""The bundled weights: what the file says of itself, how it was trained, and that its features are worth having."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torchvision.models import get_model

from tasks.backbones.bundled import glyphs, pretrain_glyphs
from tasks.backbones.bundled.pretrain_glyphs import Settings
from tasks.backbones.weights import bundled_file
from tasks.digests import file_sha256
from tasks.preprocess import Preprocess

ROOT = Path(__file__).resolve().parents[2]
TINY = Settings(renderings=64, batch=32, side=32)


@pytest.fixture(scope="module")
def masters() -> glyphs.Masters:
    return glyphs.draw_masters(glyphs.find_fonts())


@pytest.fixture(scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def test_the_weights_name_their_architecture_preprocessing_licence_and_source() -> None:
    with safe_open(bundled_file(), framework="pt") as tensors:
        about = json.loads(tensors.metadata()["graft"])
    assert about["architecture"] == "shufflenet_v2_x0_5"
    assert Preprocess.model_validate(about["preprocess"]).crop >= 32
    assert about["licence"]
    assert about["source"] == "python -m tasks.backbones.bundled.pretrain_glyphs"


def test_the_weights_are_half_precision_small_and_fit_the_unchanged_architecture_but_for_the_head() -> None:
    with safe_open(bundled_file(), framework="pt") as tensors:
        state = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
    assert bundled_file().stat().st_size <= 1_000_000
    assert {value.dtype for value in state.values() if value.is_floating_point()} == {torch.float16}
    result = get_model("shufflenet_v2_x0_5", weights=None).load_state_dict(state, strict=False)
    assert result.missing_keys == ["fc.weight", "fc.bias"]
    assert result.unexpected_keys == []


def test_the_record_is_of_these_weights_and_of_the_script_as_it_stands(masters: glyphs.Masters) -> None:
    record = json.loads((bundled_file().parent / pretrain_glyphs.RECORD_NAME).read_text())
    assert record["sha256"] == file_sha256(bundled_file())
    assert Settings(**record["settings"]) == Settings()
    assert sorted(record["fonts"] + record["held_out_fonts"]) == sorted(masters.fonts)
    with safe_open(bundled_file(), framework="pt") as tensors:
        about = json.loads(tensors.metadata()["graft"])
    assert Preprocess.model_validate(about["preprocess"]) == pretrain_glyphs.preprocess(Settings())


def test_fonts_that_fill_the_code_points_with_symbols_are_left_out(masters: glyphs.Masters) -> None:
    assert not {"cmsy10.ttf", "cmex10.ttf", "LastResortHE-Regular.ttf"} & set(masters.fonts)
    assert {"DejaVuSans.ttf", "STIXGeneral.ttf", "cmr10.ttf", *pretrain_glyphs.HELD_OUT_FONTS} <= set(masters.fonts)


def test_every_master_spans_the_glyph_side_and_is_centred(masters: glyphs.Masters) -> None:
    for master in masters.images.flatten(0, 2):
        left, top, right, bottom = Image.fromarray((master * 255).byte().numpy()).getbbox() or (0, 0, 0, 0)
        assert max(right - left, bottom - top) == glyphs.GLYPH_SIDE
        assert abs(left + right - glyphs.MASTER_SIDE) <= 1
        assert abs(top + bottom - glyphs.MASTER_SIDE) <= 1


def test_renderings_repeat_for_a_seed_and_no_two_are_alike(masters: glyphs.Masters) -> None:
    labels = torch.full((16,), 2)
    fonts = torch.zeros(16, dtype=torch.int64)
    first, again = (glyphs.render(masters, labels, fonts, torch.Generator().manual_seed(7)) for _ in range(2))
    other = glyphs.render(masters, labels, fonts, torch.Generator().manual_seed(8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({image.numpy().tobytes() for image in first}) == 16


def test_renderings_are_framed_like_scans_cropped_to_their_ink(masters: glyphs.Masters) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(len(glyphs.CHARACTERS)).repeat(4)
    fonts = torch.randint(len(masters.fonts), labels.shape, generator=generator)
    images = glyphs.render(masters, labels, fonts, generator)
    assert images.min() >= 0.0
    assert images.max() <= 1.0
    height = (images > 0.5).any(dim=3).sum(dim=(1, 2)) / images.shape[2]
    assert (height > 0.6).float().mean() > 0.95


def test_training_images_are_enlarged_as_the_preprocessing_contract_enlarges_small_scans() -> None:
    scan = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    contract = pretrain_glyphs.preprocess(Settings()).fit(Image.fromarray(scan).convert("RGB"))[:, :, 0]
    trained = glyphs.coarsen(torch.from_numpy(scan)[None, None].float(), 8, Settings().side)[0, 0].numpy()
    np.testing.assert_allclose(trained, contract, atol=1.0)


def test_coarse_images_hold_the_mean_of_their_blocks() -> None:
    image = torch.zeros(1, 1, 32, 32)
    image[..., :4, :4] = 1.0
    assert glyphs.coarsen(image, 8, 8)[0, 0, 0, 0] == 1.0
    assert glyphs.coarsen(image, 8, 8).sum() == 1.0


@pytest.mark.usefixtures("one_thread")
def test_pretraining_again_gives_the_same_bytes_and_another_seed_others(masters: glyphs.Masters) -> None:
    first, again = (pretrain_glyphs.pack(pretrain_glyphs.train(masters, TINY), TINY) for _ in range(2))
    seeded = Settings(**{**vars(TINY), "seed": 1})
    assert first == again
    assert pretrain_glyphs.pack(pretrain_glyphs.train(masters, seeded), seeded) != first


def test_weights_that_half_precision_cannot_hold_are_not_packed() -> None:
    model = get_model("shufflenet_v2_x0_5", weights=None, num_classes=len(glyphs.CHARACTERS))
    with torch.no_grad():
        model.conv5[0].weight[0, 0] = 1e6
    with pytest.raises(ValueError, match=r"not finite in half precision: conv5\.0\.weight"):
        pretrain_glyphs.pack(model, Settings())


def test_a_probe_on_the_bundled_features_beats_raw_pixels_over_twenty_draws_of_five_labels() -> None:
    command = [sys.executable, "benchmarks/sample_draws.py", "--labels", "5", "--draws", "20", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (five,) = json.loads(done.stdout)
    assert five["draws"] == 20
    assert five["probe"] >= 0.90
    assert five["gain_over_standardised"]["mean"] >= 0.07
    assert five["gain"]["mean"] >= 0.07
