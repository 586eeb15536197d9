"""The optional packages that metrics are computed with, asked for before any work starts."""

from __future__ import annotations

from importlib.util import find_spec

from omniflow.errors import UsageError


def require_package(package: str, *, metric: str) -> None:
    """Check that an optional package is installed, without importing it.

    Args:
        package: Its import name.
        metric: The metric that needs it, for the message.

    Raises:
        UsageError: If it is not installed; says what to install.
    """
    if find_spec(package) is None:
        raise UsageError(
            f"metric {metric} needs the package {package}, which is not installed",
            notes=['install it with: pip install "omniflow-zoo[eval]"'],
        )
