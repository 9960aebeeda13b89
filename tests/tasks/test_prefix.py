"""Cutting toy networks: what counts as trained, what crosses, and what happens where nothing can be cut."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tasks.training.prefix import split_network


class Joined(nn.Module):
    """Trained convolutions that see a frozen one, it rectified, and it joined with another."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)
        self.above = nn.ModuleList([nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1), nn.Conv2d(8, 2, 1)])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        first = self.first(images)
        seen = [first, first.relu(), torch.cat([first, self.second(first)], 1)]
        return sum(layer(values).mean((2, 3)) for layer, values in zip(self.above, seen, strict=True))


class Branching(nn.Module):
    """Decides by a value that it has computed, which cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.below, self.above = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = self.below(images)
        return self.above(values if values.mean() > 0 else -values)


class Token(nn.Module):
    """A trained token beside frozen layers, repeated for as many images as there are."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.below = nn.Parameter(torch.randn(1, 1, 4)), nn.Conv2d(3, 4, 8, 8)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        count = images.shape[0]
        patches = self.below(images).flatten(2).transpose(1, 2)
        return torch.cat([self.token.expand(count, -1, -1), patches], 1).mean(1)


def chain(*between: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), *between, nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Conv2d(5, 2, 3)).eval()


def names(module: nn.Module | None) -> set[str]:
    assert module is not None
    return {name for name, _ in module.named_parameters()}


def images(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_training_the_upper_part_trains_the_network_in_place() -> None:
    body = chain()
    before = {name: value.clone() for name, value in body.named_parameters()}
    prefix, suffix = split_network(body, {"3.weight", "3.bias"}, 16)
    assert (names(prefix), names(suffix)) == ({"0.weight", "0.bias", "1.weight", "1.bias"}, {"3.weight", "3.bias"})
    assert prefix is not None
    suffix(*prefix(images())).sum().backward()
    torch.optim.SGD(suffix.parameters(), 0.1).step()
    changed = {name for name, value in body.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {"3.weight", "3.bias"}


@pytest.mark.parametrize("changing", [nn.Dropout(0.5), nn.BatchNorm2d(4)])
def test_what_changes_in_training_mode_stays_in_the_upper_part(changing: nn.Module) -> None:
    body = chain(changing)
    below_all = names(split_network(body, {"4.weight"}, 16)[0])
    assert "2.weight" in below_all
    body.get_submodule("1").train()
    prefix, suffix = split_network(body, {"4.weight"}, 16)
    assert names(prefix) == {"0.weight", "0.bias"}
    assert changing in list(suffix.modules())
    assert body.get_submodule("1").training


def test_what_is_only_joined_or_rectified_from_kept_values_is_done_again() -> None:
    body = Joined().eval()
    prefix, suffix = split_network(body, {f"above.{place}.weight" for place in range(3)}, 16)
    assert prefix is not None
    with torch.no_grad():
        kept = prefix(images())
        assert [tuple(value.shape) for value in kept] == [(3, 4, 14, 14)] * 2
        assert torch.equal(suffix(*kept), body(images()))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_number_of_images_is_never_kept(count: int) -> None:
    body = Token().eval()
    prefix, suffix = split_network(body, {"token"}, 16)
    assert prefix is not None
    assert (names(prefix), "token" in names(suffix)) == ({"below.weight", "below.bias"}, True)
    with torch.no_grad():
        assert torch.equal(suffix(*prefix(images(count))), body(images(count)))


def test_a_network_that_cannot_be_traced_is_trained_whole_and_a_line_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    body = Branching().eval()
    assert split_network(body, {"above.weight"}, 16) == (None, body)
    assert "the frozen part cannot be cut off (TraceError" in capsys.readouterr().err


def test_nothing_is_cut_where_the_first_layer_is_trained() -> None:
    body = chain()
    assert split_network(body, {"0.weight"}, 16) == (None, body)
