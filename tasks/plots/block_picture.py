"""The network as a row of boxes from the image to the head: what was trained, what stayed frozen, how large it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from tasks.plots import canvas
from tasks.plots.charts import Chart
from tasks.plots.number_text import count_text, counted_text
from tasks.reports import BlockState, TrainingReport

_HEIGHT, _TOP, _BOX = 92, 24, 34
_LEAST, _GAP = 0.35, 1.5


def amount_text(parameters: float) -> str:
    """A number of parameters, short.

    >>> amount_text(990), amount_text(43_200), amount_text(2_223_872), amount_text(138_000_000)
    ('990', '43 thousand', '2.2 million', '138 million')
    """
    for size, word in ((1e6, "million"), (1e3, "thousand")):
        if parameters >= 0.9995 * size:
            scaled = parameters / size
            return f"{scaled:.1f} {word}" if scaled < 9.95 and word == "million" else f"{scaled:.0f} {word}"
    return count_text(parameters)


def depth_text(blocks: Sequence[BlockState]) -> str:
    """How deep training went, such as `4 of 19 blocks and the head: 1.2 of 2.2 million parameters`."""
    *body, head = blocks
    trained = [block for block in body if block.trained]
    if len(trained) == len(body):
        which = f"All {counted_text(len(body), 'block')}" if len(body) > 1 else "The only block"
    else:
        which = f"{count_text(len(trained))} of {counted_text(len(body), 'block')}"
    ends = " and the head" if head.trained else ", the head frozen"
    learnt = sum(block.parameters for block in blocks if block.trained)
    whole = sum(block.parameters for block in blocks)
    return f"{which}{ends}: {_part_text(learnt, whole)} parameters"


def _part_text(part: int, whole: int) -> str:
    """One number of another, their common word said once: `1.2 of 2.2 million`."""
    if part == whole:
        return f"all {amount_text(whole)}"
    small, large = amount_text(part), amount_text(whole)
    word = large.partition(" ")[2]
    return f"{small.removesuffix(f' {word}') if word else small} of {large}"


def block_picture(training: TrainingReport, name: str) -> Chart | None:
    """Boxes from left to right as an image meets the blocks, as wide as the root of their parameters; None without any.

    Args:
        name: of the run, one of its own on the page.
    """
    blocks = training.blocks
    if len(blocks) < 2:
        return None
    with canvas.drawing(f"{name} blocks", _HEIGHT, (0, 0, 0, 0)) as drawn:
        axes = drawn.axes
        axes.set_xlim(0, canvas.WIDTH)
        axes.set_ylim(_HEIGHT, 0)
        axes.axis("off")
        edges = _edges(blocks)
        for block, (left, right) in zip(blocks, edges, strict=True):
            _box(drawn, block, left, right)
        axes.text(0, 15, "image →", color=canvas.QUIET)
        axes.text(canvas.WIDTH, 15, "→ classes", color=canvas.QUIET, ha="right")
        _brackets(drawn, blocks, edges)
        return Chart("What was trained", drawn.svg(f"The network from the image to the classes. {_spoken(blocks)}"))


def _edges(blocks: Sequence[BlockState]) -> list[tuple[float, float]]:
    """Left and right end of each box, pixels; no box is narrower than a part of the mean width."""
    roots = [math.sqrt(block.parameters) for block in blocks]
    least = _LEAST * sum(roots) / len(roots) or 1.0
    widths = [max(root, least) for root in roots]
    gap = min(_GAP, canvas.WIDTH / len(blocks) / 4)
    scale = (canvas.WIDTH - gap * (len(blocks) - 1)) / sum(widths)
    ends, left = [], 0.0
    for width in widths:
        ends.append((left, left + scale * width))
        left += scale * width + gap
    return ends


def _box(drawn: canvas.Drawing, block: BlockState, left: float, right: float) -> None:
    from matplotlib.patches import Rectangle

    state = "trained" if block.trained else "frozen"
    said = drawn.word(f"{block.name}: {counted_text(block.parameters, 'parameter')}, {state}", 200)
    colour, opacity = (canvas.OURS, 1.0) if block.trained else (canvas.OTHER, 0.38)
    drawn.axes.add_patch(
        Rectangle((left, _TOP), right - left, _BOX, color=colour, alpha=opacity, linewidth=0, gid=said, clip_on=False)
    )


def _brackets(drawn: canvas.Drawing, blocks: Sequence[BlockState], edges: Sequence[tuple[float, float]]) -> None:
    """Under the first stretch of each kind a line and its name; a short stretch at the right is named leftwards."""
    axes, line = drawn.axes, _TOP + _BOX + 7
    for trained, stretch in groupby(range(len(blocks)), key=lambda place: blocks[place].trained):
        places = list(stretch)
        left, right = edges[places[0]][0], edges[places[-1]][1]
        amount = amount_text(sum(blocks[place].parameters for place in places))
        text = f"{'trained' if trained else 'frozen'}, {amount}"
        colour = canvas.OURS if trained else canvas.OTHER
        axes.plot([left, right], [line, line], color=colour, linewidth=2)
        at_end = places[-1] == len(blocks) - 1 and places[0] > 0
        axes.text(right if at_end else left, line + 18, text, ha="right" if at_end else "left")
        if places[0] > 0 and not at_end:
            return


def _spoken(blocks: Sequence[BlockState]) -> str:
    """The stretches in words, for whoever does not see the boxes."""
    parts = []
    for trained, stretch in groupby(blocks, key=lambda block: block.trained):
        run = list(stretch)
        names = run[0].name if len(run) == 1 else f"{run[0].name} to {run[-1].name}"
        amount = amount_text(sum(block.parameters for block in run))
        parts.append(f"{'Trained' if trained else 'Frozen'}: {names}, {amount} parameters")
    return f"{'. '.join(parts)}. {depth_text(blocks)}"
