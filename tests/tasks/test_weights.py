"""Finding, checking and loading weights: what is refused, and that nothing in a file is ever executed."""

from __future__ import annotations

import hashlib
import io
import pickle
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import SqueezeNet1_0_Weights, get_model, get_model_weights

from tasks.backbones.bodies import body_of
from tasks.backbones.registry import BACKBONES, find_backbone
from tasks.backbones.weights import BUNDLED_ARCHITECTURE, LoadedWeights, load, locate
from tasks.digests import file_sha256
from tasks.errors import WeightsError
from tasks.params import BackboneParams, parse_params

NAME = "squeezenet1_0"


def backbone_params(weights: str, name: str = NAME, **preprocess: int) -> BackboneParams:
    return parse_params({"backbone": {"name": name, "weights": weights, "preprocess": preprocess}}).backbone


def load_from(folder: Path, weights: str, **more: Any) -> LoadedWeights:
    params = backbone_params(weights, **more)
    return load(params, locate(params, folder))


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """A whole state dict of squeezenet1_0, head included."""
    torch.manual_seed(1)
    return dict(get_model(NAME, weights=None).state_dict())


def body_state(loaded: LoadedWeights) -> dict[str, torch.Tensor]:
    return dict(body_of(find_backbone(NAME), loaded).state_dict())


# where they come from


def test_bundled_weights_of_another_architecture_are_refused_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"bundled weights are for shufflenet_v2_x0_5, not resnet18; set backbone.w"):
        locate(backbone_params("bundled", name="resnet18"), tmp_path)


def test_none_means_random_weights_that_are_the_same_every_time(tmp_path: Path) -> None:
    loaded = load_from(tmp_path, "none")
    first, again = body_state(loaded), body_state(loaded)
    assert loaded.state is None
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=rf"backbone\.weights: {tmp_path}/net\.pth does not exist or is no file"):
        locate(backbone_params("net.pth"), tmp_path)


def test_a_path_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"'w/net\.bin' must end in one of \.pth, \.pt, \.safetensors"):
        locate(backbone_params("w/net.bin"), tmp_path)


def test_a_files_report_name_and_identity_hold_no_path(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    (tmp_path / "deep").mkdir()
    torch.save(state, tmp_path / "deep" / "net.pth")
    source = locate(backbone_params("deep/net.pth"), tmp_path)
    assert (source.name, source.identity) == ("net.pth", file_sha256(tmp_path / "deep" / "net.pth"))


def test_a_torchvision_name_is_known_with_or_without_its_family(tmp_path: Path) -> None:
    plain = locate(backbone_params("IMAGENET1K_V1"), tmp_path)
    assert plain.identity == "torchvision:IMAGENET1K_V1"
    assert locate(backbone_params("SqueezeNet1_0_Weights.IMAGENET1K_V1"), tmp_path) == plain


def test_a_torchvision_name_of_another_family_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"'ResNet18_Weights\.IMAGENET1K_V1' is not of squeezenet1_0"):
        locate(backbone_params("ResNet18_Weights.IMAGENET1K_V1"), tmp_path)


@pytest.mark.parametrize(
    ("name", "known"), [(NAME, "IMAGENET1K_V1, none, or"), (BUNDLED_ARCHITECTURE, "IMAGENET1K_V1, bundled, none, or")]
)
def test_an_unknown_torchvision_name_is_refused_with_what_this_backbone_may_have(
    tmp_path: Path, name: str, known: str
) -> None:
    with pytest.raises(WeightsError, match=r"'IMAGENET1K_V7' is no torchvision weights name") as caught:
        load_from(tmp_path, "IMAGENET1K_V7", name=name)
    assert f"of {name}; did you mean 'IMAGENET1K_V1'? known: {known} a local .pth or" in str(caught.value)


def test_an_unknown_torchvision_name_is_refused_before_torch_is_imported(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"'IMAGENET1K_V9' is no torchvision weights name of squeezenet1_0"):
        locate(backbone_params("IMAGENET1K_V9"), tmp_path)


def test_the_weights_names_are_torchvisions() -> None:
    ours = {name: list(row.weights) for name, row in BACKBONES.items()}
    assert ours == {name: [weights.name for weights in get_model_weights(name)] for name in BACKBONES}


# local files


@pytest.mark.parametrize("wrapping", ["plain", "state_dict", "model", "module"])
def test_a_state_dict_is_found_in_the_usual_wrappings(
    tmp_path: Path, state: dict[str, torch.Tensor], wrapping: str
) -> None:
    document: dict[str, Any] = dict(state)
    if wrapping == "module":
        document = {"state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch": 3}
    elif wrapping != "plain":
        document = {wrapping: document, "epoch": 3}
    torch.save(document, tmp_path / "net.pth")
    loaded = load_from(tmp_path, "net.pth")
    body = body_state(loaded)
    assert loaded.sha256 == file_sha256(tmp_path / "net.pth")
    assert body
    assert all(torch.equal(body[name], state[name]) for name in body)


def test_a_head_for_other_classes_does_not_matter(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    head = {"classifier.1.weight": torch.zeros(7, 512, 1, 1), "classifier.1.bias": torch.zeros(7)}
    torch.save({**state, **head}, tmp_path / "net.pth")
    assert "classifier.1.weight" not in body_state(load_from(tmp_path, "net.pth"))


class _Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.target, "executed")


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_code_in_a_weights_file_is_refused_and_never_executed(tmp_path: Path, form: str) -> None:
    target, file = tmp_path / "executed", tmp_path / "net.pth"
    document = {"features.0.weight": _Bomb(target)}
    if form == "torch":
        torch.save(document, file)
    else:
        file.write_bytes(pickle.dumps(document))
    with pytest.raises(
        WeightsError, match=r"net\.pth cannot be read as plain weights.*save the model's state_dict\(\)"
    ):
        load_from(tmp_path, "net.pth")
    assert not target.exists()
    with suppress(RuntimeError):
        torch.load(io.BytesIO(file.read_bytes()), weights_only=False)
    assert target.read_text() == "executed"


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04 truncated"])
def test_a_file_that_is_no_weights_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.pth").write_bytes(content)
    (tmp_path / "net.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be read as plain weights"):
        load_from(tmp_path, "net.pth")
    with pytest.raises(WeightsError, match="is no readable safetensors file"):
        load_from(tmp_path, "net.safetensors")


@pytest.mark.parametrize("document", [{"epoch": 3}, [torch.zeros(1)], torch.zeros(1)])
def test_a_pth_without_a_state_dict_is_refused(tmp_path: Path, document: Any) -> None:
    torch.save(document, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="holds no state dict"):
        load_from(tmp_path, "net.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_of_another_architecture_are_refused(tmp_path: Path, suffix: str) -> None:
    other = dict(get_model("shufflenet_v2_x0_5", weights=None).state_dict())
    file = tmp_path / f"net{suffix}"
    torch.save(other, file) if suffix == ".pth" else save_file(other, file)
    with pytest.raises(WeightsError, match=r"not of squeezenet1_0: missing .*set backbone.name to their architecture"):
        body_state(load_from(tmp_path, file.name))


def test_weights_of_the_right_names_and_wrong_shapes_are_refused(
    tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    torch.save({**state, "features.0.weight": torch.zeros(96, 3, 3, 3)}, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=r"the weights do not fit squeezenet1_0: .*features\.0\.weight"):
        body_state(load_from(tmp_path, "net.pth"))


def test_a_safetensors_file_that_names_another_architecture_is_refused(
    tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    save_file(state, tmp_path / "net.safetensors", {"graft": '{"architecture": "resnet18"}'})
    with pytest.raises(WeightsError, match=r"holds weights of resnet18, not squeezenet1_0; set backbone.name"):
        load_from(tmp_path, "net.safetensors")


@pytest.mark.parametrize("about", ["{", "[]", '{"preprocess": {"crop": 0}}', '{"preprocess": 3}'])
def test_safetensors_metadata_that_make_no_sense_are_refused(
    tmp_path: Path, state: dict[str, torch.Tensor], about: str
) -> None:
    save_file(state, tmp_path / "net.safetensors", {"graft": about})
    with pytest.raises(WeightsError, match="is no readable safetensors file"):
        load_from(tmp_path, "net.safetensors")


# preprocessing


def test_preprocessing_comes_from_a_safetensors_files_metadata(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    about = (
        '{"preprocess": {"resize": 40, "crop": 36, "interpolation": "bicubic", "mean": [0, 0, 0], "std": [1, 1, 1]}}'
    )
    save_file(state, tmp_path / "net.safetensors", {"graft": about})
    recorded = load_from(tmp_path, "net.safetensors").preprocess
    assert (recorded.resize, recorded.crop, recorded.interpolation) == (40, 36, "bicubic")
    assert load_from(tmp_path, "net.safetensors", crop=30).preprocess == recorded.model_copy(update={"crop": 30})


def test_preprocessing_comes_from_torchvisions_metadata(tmp_path: Path) -> None:
    ours, preset = load_from(tmp_path, "none").preprocess, SqueezeNet1_0_Weights.IMAGENET1K_V1.transforms()
    assert (ours.resize, ours.crop) == (preset.resize_size[0], preset.crop_size[0])
    assert (list(ours.mean), list(ours.std)) == (preset.mean, preset.std)
    assert ours.interpolation == preset.interpolation.value
    assert load_from(tmp_path, "none", name="efficientnet_b0").preprocess.interpolation == "bicubic"


def test_a_crop_above_the_resize_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="crop 224 exceeds resize 64; raise resize or lower crop"):
        load_from(tmp_path, "none", resize=64)


# torchvision's own download, from a local server


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a web server on this machine; torch keeps its downloads below tmp_path/torch."""
    folder = tmp_path / "server"
    folder.mkdir()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(folder))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        monkeypatch.setattr(_Silent, "address", f"http://127.0.0.1:{http.server_port}", raising=False)
        yield folder
        http.shutdown()


def offer(server: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, sha256: str | None = None) -> str:
    """Serve `data` as squeezenet1_0's weights under a name that promises `sha256` (default: the right one)."""
    name = f"squeezenet1_0-{(sha256 or hashlib.sha256(data).hexdigest())[:8]}.pth"
    (server / name).write_bytes(data)
    weights = SqueezeNet1_0_Weights.IMAGENET1K_V1
    monkeypatch.setattr(
        weights, "_value_", type(weights.value)(**{**vars(weights.value), "url": f"{_Silent.address}/{name}"})
    )
    return name


def saved(document: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(document, buffer)
    return buffer.getvalue()


def test_torchvision_downloads_once_and_the_sha256_is_checked(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: dict[str, torch.Tensor]
) -> None:
    name = offer(server, monkeypatch, saved(state))
    loaded = load_from(tmp_path, "IMAGENET1K_V1")
    body = body_state(loaded)
    assert all(torch.equal(body[key], state[key]) for key in body)
    assert loaded.sha256 == file_sha256(server / name)
    (server / name).unlink()
    assert load_from(tmp_path, "IMAGENET1K_V1").sha256 == loaded.sha256


def test_a_download_of_other_content_is_refused_and_not_kept(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: dict[str, torch.Tensor]
) -> None:
    offer(server, monkeypatch, saved(state), sha256="0" * 64)
    with pytest.raises(WeightsError, match=r"invalid hash value.*set backbone\.weights to its path"):
        load_from(tmp_path, "IMAGENET1K_V1")
    assert not list((tmp_path / "torch").rglob("*.pth"))


@pytest.mark.parametrize("damage", ["truncated", "replaced"])
def test_a_damaged_file_in_torchvisions_cache_is_refused_before_it_is_read(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: dict[str, torch.Tensor], damage: str
) -> None:
    name = offer(server, monkeypatch, saved(state))
    cached = tmp_path / "torch" / "hub" / "checkpoints" / name
    cached.parent.mkdir(parents=True)
    bomb = pickle.dumps({"features.0.weight": _Bomb(tmp_path / "executed")})
    cached.write_bytes(saved(state)[:1000] if damage == "truncated" else bomb)
    with pytest.raises(WeightsError, match=rf"{name} is damaged: .*delete it and run again"):
        load_from(tmp_path, "IMAGENET1K_V1")
    assert not (tmp_path / "executed").exists()
    cached.unlink()
    assert load_from(tmp_path, "IMAGENET1K_V1").state is not None


def test_downloaded_code_is_never_executed_even_under_the_right_sha256(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(server, monkeypatch, saved({"features.0.weight": _Bomb(tmp_path / "executed")}))
    with pytest.raises(WeightsError, match="cannot be had from"):
        load_from(tmp_path, "IMAGENET1K_V1")
    assert not (tmp_path / "executed").exists()


def test_a_server_that_is_down_or_lacks_the_file_is_named_with_the_mend(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = offer(server, monkeypatch, b"weights")
    (server / name).unlink()
    with pytest.raises(WeightsError, match=r"cannot be had from http://127.*404.*download that file elsewhere and set"):
        load_from(tmp_path, "IMAGENET1K_V1")
    monkeypatch.setattr(_Silent, "address", "http://127.0.0.1:9")
    offer(server, monkeypatch, b"weights")
    with pytest.raises(WeightsError, match=r"cannot be had from http://127\.0\.0\.1:9/.*refused"):
        load_from(tmp_path, "IMAGENET1K_V1")
