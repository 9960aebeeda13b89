"""How numbers stand in the report: three decimals for ratios, a true minus sign, no false precision."""

from __future__ import annotations

from tasks.reports import Estimate

MINUS = "\N{MINUS SIGN}"
EN_DASH = "\N{EN DASH}"


def ratio_text(value: float, digits: int = 3) -> str:
    """A ratio with a fixed number of decimals.

    >>> ratio_text(0.96154)
    '0.962'
    """
    return f"{value:.{digits}f}".replace("-", MINUS)


def signed_text(value: float, digits: int = 3) -> str:
    """A difference, always with its sign.

    >>> signed_text(0.0831)
    '+0.083'
    """
    return f"{value:+.{digits}f}".replace("-", MINUS)


def percent_text(value: float) -> str:
    """A ratio as a whole per cent; near 0 and 1 with one decimal, so that neither is claimed in vain.

    >>> percent_text(0.874), percent_text(0.9962), percent_text(0.99996), percent_text(1.0)
    ('87%', '99.6%', 'over 99.9%', '100%')
    """
    percent = 100 * value
    if 99.95 <= percent < 100:
        return "over 99.9%"
    if 0 < percent < 0.05:
        return "under 0.1%"
    return f"{percent:.0f}%" if 1 <= percent < 99 or percent in (0, 100) else f"{percent:.1f}%"


def count_text(value: float) -> str:
    """A count with thousands separated.

    >>> count_text(1747)
    '1,747'
    """
    return f"{value:,.0f}".replace("-", MINUS)


def signed_count_text(value: float) -> str:
    """A difference of counts, always with its sign.

    >>> signed_count_text(1717)
    '+1,717'
    """
    return f"{value:+,.0f}".replace("-", MINUS)


def counted_text(count: int, noun: str, plural: str = "") -> str:
    """A count with its noun.

    >>> counted_text(1, "item"), counted_text(1747, "item")
    ('1 item', '1,747 items')
    """
    return f"{count_text(count)} {noun if count == 1 else plural or noun + 's'}"


def strength_text(value: float) -> str:
    """A regularisation strength, short, however small or large.

    >>> strength_text(0.0001), strength_text(31.6227766)
    ('0.0001', '31.6')
    """
    return f"{value:.3g}".replace("-", MINUS)


def interval_text(estimate: Estimate) -> str:
    """The interval of a ratio.

    >>> interval_text(Estimate(value=0.5, low=0.4, high=0.6, method="wilson"))
    '0.400\N{EN DASH}0.600'
    """
    return f"{ratio_text(estimate.low)}{EN_DASH}{ratio_text(estimate.high)}"


def signed_interval_text(estimate: Estimate) -> str:
    """The interval of a difference.

    >>> signed_interval_text(Estimate(value=0.05, low=0.01, high=0.09, method="bootstrap"))
    '+0.010 to +0.090'
    """
    return f"{signed_text(estimate.low)} to {signed_text(estimate.high)}"


def telling_digits(value: float, limit: float) -> int:
    """The fewest decimals (3 to 6) at which a value and its limit do not look equal unless they are.

    >>> telling_digits(0.79996, 0.8), telling_digits(0.812, 0.8)
    (5, 3)
    """
    for digits in range(3, 6):
        if value == limit or f"{value:.{digits}f}" != f"{limit:.{digits}f}":
            return digits
    return 6
