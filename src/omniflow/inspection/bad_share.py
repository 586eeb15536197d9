"""Whether the records that cannot be read are more than a run may skip."""

from __future__ import annotations

import math

#: How seldom a split within the limit may be taken for one beyond it.
_DOUBT = 0.05


def is_beyond(failed: int, read: int, limit: float, *, is_whole: bool) -> bool:
    """Whether the share of bad records is above a limit.

    Of a whole split that is known; of a sample it is said when a split within the limit would show
    so many in fewer than 1 of 20 samples.

    Args:
        failed: Bad records among those that were read.
        read: Records that were read.
        limit: The largest share, in [0, 1].
        is_whole: Whether these are all there are.
    """
    if failed <= limit * read:
        return False
    return is_whole or chance_of(failed, read, limit) < _DOUBT


def chance_of(failed: int, read: int, share: float) -> float:
    """How likely `failed` or more of `read` records are bad when `share` of all are (binomial)."""
    if share in (0.0, 1.0) or not failed:
        return float(failed == 0 or share == 1.0)
    fewer = math.fsum(_probability(k, read, share) for k in range(failed))
    return max(0.0, 1.0 - fewer)


def _probability(failed: int, read: int, share: float) -> float:
    ways = math.lgamma(read + 1) - math.lgamma(failed + 1) - math.lgamma(read - failed + 1)
    return math.exp(ways + failed * math.log(share) + (read - failed) * math.log1p(-share))
