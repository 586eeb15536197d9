"""What a run depends on: versions, device, plugins, Hub settings; gathered for `doctor`."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from omniflow.hub_access import without_secrets
from omniflow.plugins import DISTRIBUTION, Plugins
from omniflow.version import __version__
from omniflow_cli import shadowing
from omniflow_cli.plugin_facts import conflicts, plugin_facts, plugin_problems


def gather(plugins: Plugins, environ: Mapping[str, str]) -> dict[str, Any]:
    """Everything that `doctor` tells, as plain data; `problems` is empty when all is well."""
    packages, extras, missing = _packages()
    device = _device()
    problems = [*shadowing.findings(), *missing]
    if "error" in device:
        problems.append(f"torch cannot be imported: {device['error']}")
    problems += plugin_problems(plugins)
    return {
        "versions": {
            "python": platform.python_version(),
            DISTRIBUTION: __version__,
            **packages,
        },
        "extras": extras,
        "device": device,
        "plugins": plugin_facts(plugins),
        "conflicts": conflicts(plugins.registry),
        "hub": _hub(environ),
        "problems": problems,
    }


def _packages() -> tuple[dict[str, str], dict[str, bool], list[str]]:
    """Versions of what we require, which extras are complete, and what does not fit."""
    from packaging.requirements import Requirement

    try:
        listed = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        return {}, {}, [f"{DISTRIBUTION} is not installed; its files are used where they lie"]
    versions: dict[str, str] = {}
    extras: dict[str, bool] = {}
    problems: list[str] = []
    for requirement in map(Requirement, listed):
        found = _version(requirement.name)
        extra = str(requirement.marker).partition("extra ==")[2].strip(" \"'")
        fits = found is not None and requirement.specifier.contains(found, prereleases=True)
        if extra:
            extras[extra] = extras.get(extra, True) and fits
        else:
            versions[requirement.name] = found or "missing"
            if not fits:
                problems.append(f"{requirement} is required, found: {found or 'nothing'}")
    return versions, extras, problems


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _device() -> dict[str, Any]:
    """What there is to compute with; imports torch."""
    memory = _memory_gb()
    facts: dict[str, Any] = {"cores": _cores(), **({"memory_gb": memory} if memory else {})}
    try:
        import torch
    # It imports what others have installed, which may raise anything.
    except Exception as error:  # noqa: BLE001
        return {**facts, "error": " ".join(str(error).split())}
    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        described = [f"{gpu.name}, {gpu.total_memory / 1e9:.1f} GB" for gpu in gpus]
        return {"device": "cuda", "gpus": described, "cuda": torch.version.cuda, **facts}
    return {"device": "mps" if torch.backends.mps.is_available() else "cpu", **facts}


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _hub(environ: Mapping[str, str]) -> dict[str, Any]:
    """Settings of the Hub client; whether there is a token, never the token."""
    cache = Path(environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "huggingface"
    home = Path(environ.get("HF_HOME", str(cache))).expanduser()
    token_file = Path(environ.get("HF_TOKEN_PATH", str(home / "token"))).expanduser()
    in_environment = any(environ.get(name) for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"))
    return {
        "HF_HOME": str(home),
        "HF_HUB_CACHE": environ.get("HF_HUB_CACHE", str(home / "hub")),
        "HF_ENDPOINT": without_secrets(environ.get("HF_ENDPOINT", "https://huggingface.co")),
        "HF_HUB_OFFLINE": environ.get("HF_HUB_OFFLINE", "0"),
        "token": "yes" if in_environment or _is_filled(token_file) else "no",
    }


def _is_filled(file: Path) -> bool:
    try:
        return file.stat().st_size > 0
    except OSError:
        return False
