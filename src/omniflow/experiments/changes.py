"""Where two recipes differ in what shapes a result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: Options of the loop that change neither weights nor figures.
WITHOUT_EFFECT = frozenset(
    f"training.{name}"
    for name in (
        "cache", "cache_dir", "cache_limit_gb", "workers", "trackers", "keep",
        "save_interval", "seed",
    )
)  # fmt: skip

_NOTHING = object()


def changes_between(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A line for every option that differs: `training.max_steps: 200 before, 400 now`."""
    old, new = dict(_flat(before)), dict(_flat(now))
    return [
        f"{key}: {_told(old.get(key, _NOTHING))} before, {_told(new.get(key, _NOTHING))} now"
        for key in dict.fromkeys([*old, *new])
        if key not in WITHOUT_EFFECT and old.get(key, _NOTHING) != new.get(key, _NOTHING)
    ]


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        for place, item in enumerate(value):
            yield from _flat(item, f"{prefix}.{place}")
    else:
        yield prefix, value


def _told(value: Any) -> str:
    return "not there" if value is _NOTHING else repr(value)
