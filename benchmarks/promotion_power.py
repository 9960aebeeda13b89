"""Power and false promotions of the rule for champion and challenger beside a plain `>=` gate.

    python -m benchmarks.promotion_power [--repeats 5000] [--plot promotion_power.svg]

A line of twenty models is judged on one test set, which is drawn anew for each repeat. The champion is right on 85% of
all items; its right and wrong answers stay for the whole line, and the models answer independently of each other given
these, all with the same true difference to the champion. A plain gate promotes what is at least as accurate as the
champion on these items.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from benchmarks.rounds import RESULTS, keep_section, markdown_table
from tasks.champion_judgement import level_of
from tasks.exact_size import critical_value, discordance_limit
from tasks.paired_tests import tango_statistic
from tasks.params import ChampionRule

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHAMPION_ACCURACY = 0.85
RULE = ChampionRule()
ITEMS = (150, 400, 2000)
DISCORDANCES = (0.05, 0.2)
PLOTTED_DISCORDANCE = 0.1
GAINS = (0.01, 0.02, 0.04, 0.06)
PLOT = Path(__file__).with_name("promotion_power.svg")

PLAIN, FIRST, LAST, EQUIVALENT = "plain >= gate", "better, 1st use", "better, 20th use", "equivalent, 1st use"
COLOURS = {PLAIN: "#777777", FIRST: "#0072b2", LAST: "#56b4e9", EQUIVALENT: "#d55e00"}
DASHES = {PLAIN: ":", FIRST: "-", LAST: "-", EQUIVALENT: "--"}

Counts = npt.NDArray[np.int64]
Promoted = npt.NDArray[np.bool_]


def line_of_models(
    items: int, gain: float, discordance: float, repeats: int, seed: int, uses: int = RULE.test_set_uses
) -> tuple[Counts, Counts]:
    """(repeats, uses) items that only the new model, and only the champion, gets right.

    Args:
        gain: true accuracy of every new model - the champion's.
        discordance: true share of items that only one of the two gets right.
    """
    generator = np.random.default_rng(seed)
    champion_right = generator.binomial(items, CHAMPION_ACCURACY, size=(repeats, 1))
    gaining = (discordance + gain) / 2 / (1 - CHAMPION_ACCURACY)
    losing = (discordance - gain) / 2 / CHAMPION_ACCURACY
    gained = generator.binomial(items - champion_right, gaining, size=(repeats, uses))
    return gained, generator.binomial(champion_right, losing, size=(repeats, uses))


def shown_above(gained: Counts, lost: Counts, items: int, difference: float, rule: ChampionRule) -> Promoted:
    """(repeats, uses) whether the lower bound lies above `difference`, by the rule at the level of each use.

    Args:
        difference: 0 asks for a better model, -margin for one that is not worse by the margin.
    """
    differing, place = np.unique(gained + lost, return_inverse=True)
    limits = np.array([discordance_limit(int(count), items) for count in differing])[place].reshape(gained.shape)
    critical = np.zeros(gained.shape)
    for limit in np.unique(limits):
        of_use = [raised(items, rule, use, float(limit)) for use in range(1, gained.shape[1] + 1)]
        critical = np.where(limits == limit, of_use, critical)
    return np.asarray(tango_statistic(gained, lost, items, difference) > critical)


def raised(items: int, rule: ChampionRule, use: int, limit: float) -> float:
    """The critical value of a use: the greater one of both differences that are decided on."""
    return max(critical_value(items, margin, level_of(rule, use), limit) for margin in (rule.margin, 0.0))


def chances(items: int, gain: float, discordance: float, repeats: int) -> dict[str, float]:
    """Share of models with this true gain that each gate promotes."""
    gained, lost = line_of_models(items, gain, discordance, repeats, seed=1)
    better = shown_above(gained, lost, items, 0.0, RULE)
    equivalent = shown_above(gained, lost, items, -RULE.margin, RULE)
    return {
        PLAIN: float((gained >= lost).mean()),
        FIRST: float(better[:, 0].mean()),
        LAST: float(better[:, -1].mean()),
        EQUIVALENT: float(equivalent[:, 0].mean()),
    }


def any_promoted(items: int, gain: float, discordance: float, repeats: int) -> tuple[float, float, float]:
    """Share of lines of twenty with any promotion: by the plain gate, as better, and as better or equivalent."""
    gained, lost = line_of_models(items, gain, discordance, repeats, seed=2)
    better = shown_above(gained, lost, items, 0.0, RULE)
    equivalent = shown_above(gained, lost, items, -RULE.margin, RULE)
    plain, first, second = ((each.any(axis=1)).mean() for each in (gained >= lost, better, equivalent))
    return float(plain), float(first), float(second)


def false_promotions_table(repeats: int) -> str:
    """Lines of twenty that are just worse by the margin, and lines that are just as good."""
    rows = []
    for items in ITEMS:
        for discordance in DISCORDANCES:
            plain, _, equivalent = any_promoted(items, -RULE.margin, discordance, repeats)
            plain_equal, better, _ = any_promoted(items, 0.0, discordance, repeats)
            figures = (plain, equivalent, plain_equal, better)
            rows.append([f"{items} items, {discordance:.0%} differ", *(f"{share:.3f}" for share in figures)])
    margin = f"{100 * RULE.margin:g} point below"
    header = [
        "",
        f"{margin}: plain gate",
        f"{margin}: Graft, equivalent or better",
        "equal: plain gate",
        "equal: better",
    ]
    return markdown_table(header, rows)


def power_table(repeats: int) -> str:
    """Chance of promotion of a model that is better, at the first and at the last use of the test set."""
    rows = []
    for items in ITEMS:
        for discordance in DISCORDANCES:
            cells = []
            for gain in GAINS:
                found = chances(items, gain, discordance, repeats) if gain < discordance else None
                cells.append(f"{found[FIRST]:.2f} / {found[LAST]:.2f} / {found[PLAIN]:.2f}" if found else "")
            rows.append([f"{items} items, {discordance:.0%} differ", *cells])
    return markdown_table(["1st use / 20th use / plain gate", *(f"+{100 * gain:g} points" for gain in GAINS)], rows)


def draw_plot(repeats: int, file: Path) -> None:
    """An SVG: above the power of one decision, below the chance of any promotion in a line of twenty."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "promotion power", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(11, 6.6), layout="constrained")
        axes = figure.subplots(2, len(ITEMS), sharey=True)
        for column, items in enumerate(ITEMS):
            _draw_power(axes[0][column], items, repeats)
            _draw_rate(axes[1][column], items, repeats)
        axes[0][0].set_ylabel("chance that one model is promoted")
        axes[1][0].set_ylabel("chance that any of twenty is")
        for each in axes.flat:
            each.set_ylim(-0.02, 1.02)
            each.grid(alpha=0.3)
            each.spines[["top", "right"]].set_visible(False)
        axes[0][0].legend(frameon=False, fontsize=9)
        axes[1][0].legend(frameon=False, fontsize=9)
        figure.savefig(file, format="svg", metadata={"Date": None})


def _draw_power(axes: Axes, items: int, repeats: int) -> None:
    gains = np.linspace(0, 0.08, 17)
    found = [chances(items, float(gain), PLOTTED_DISCORDANCE, repeats) for gain in gains]
    for gate in COLOURS:
        shares = [each[gate] for each in found]
        axes.plot(100 * gains, shares, color=COLOURS[gate], linestyle=DASHES[gate], label=gate)
    axes.set_title(f"{items} test items, {PLOTTED_DISCORDANCE:.0%} differ", fontsize=10)
    axes.set_xlabel("true gain over the champion, points")


def _draw_rate(axes: Axes, items: int, repeats: int) -> None:
    losses = np.linspace(-0.04, 0, 17)
    found = np.array([any_promoted(items, float(loss), PLOTTED_DISCORDANCE, repeats) for loss in losses]).T
    names = {PLAIN: PLAIN, FIRST: "better", EQUIVALENT: "better or equivalent"}
    for (gate, label), shares in zip(names.items(), found, strict=True):
        axes.plot(100 * losses, shares, color=COLOURS[gate], linestyle=DASHES[gate], label=label)
    axes.axhline(RULE.alpha, color="#000000", linewidth=0.6)
    axes.axvline(-100 * RULE.margin, color="#000000", linewidth=0.6)
    axes.annotate("alpha", (-4, RULE.alpha), (0, 3), textcoords="offset points", fontsize=8)
    axes.annotate("margin", (-100 * RULE.margin, 0.55), (-3, 0), textcoords="offset points", fontsize=8, ha="right")
    axes.set_xlabel("true difference to the champion, points")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5000, help="lines of twenty models (default: %(default)s)")
    parser.add_argument("--plot", type=Path, default=PLOT)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    draw_plot(arguments.repeats, arguments.plot)
    words = (
        f"{arguments.repeats} lines of {RULE.test_set_uses} models, margin {RULE.margin:g}, alpha {RULE.alpha:g}; the "
        "figures do not depend on the machine. Chance of any false promotion in a line:"
    )
    picture = f"![Chance of promotion against the true difference]({arguments.plot.name})"
    power = "Chance that a model which is better by so much is promoted:"
    parts = [words, false_promotions_table(arguments.repeats), power, power_table(arguments.repeats), picture]
    keep_section("promotion power", "\n\n".join(parts), arguments.results)
    print("\n\n".join(parts))


if __name__ == "__main__":
    main()
