"""Build the source distribution and the wheel, and try the wheel where nothing else is.

    python scripts/dist.py [--output dist] [--max-steps 40] [-- PIP ARGUMENTS]

The wheel is made from the source distribution, so that a file which that lacks is noticed. Both
are checked as the package index would; the wheel is then installed into an empty environment and
trains, generates and samples from there, in an empty folder and with every connection refused.
Where pip finds packages is left to the environment (PIP_INDEX_URL and the like) and to what comes
after `--`. Needs build and twine: `pip install -e ".[dist]"`.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: The wheel carries the embedded backbone; its index takes 100 MB.
MOST_BYTES = 30 * 10**6

#: Without these the wheel would install and not work.
NEEDED = (
    "omniflow/py.typed",
    "omniflow/recipes/vq-plus-refiner.yaml",
    "omniflow/assets/tiny/transformer/diffusion_pytorch_model.safetensors",
    "omniflow/evaluation/report/script.js",
    "omniflow_cli/app.py",
)

#: Folders of the repository that somebody who packages or patches it needs.
NEEDED_SOURCES = ("tests/conftest.py", "docs/architecture.md", "plugins_example", "scripts/dist.py")

#: Imported at every start of the new environment's Python.
NO_NETWORK = """
import socket

_connect = socket.socket.connect

def connect(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1"):
        raise OSError(f"the network is off in this trial: {address}")
    return _connect(self, address)

socket.socket.connect = connect
"""


def main() -> None:
    """Do all of it; the first thing that fails ends it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "dist")
    parser.add_argument("--max-steps", type=int, default=40, help="steps of the trial run")
    parser.add_argument("pip", nargs="*", help="arguments of pip install, after --")
    options = parser.parse_args()
    started = time.perf_counter()
    sdist, wheel = build(options.output)
    check_sdist(sdist)
    check_wheel(wheel)
    run(sys.executable, "-m", "twine", "check", "--strict", str(sdist), str(wheel))
    with tempfile.TemporaryDirectory(prefix="omniflow-dist-") as place:
        try_wheel(wheel, Path(place), options.pip, options.max_steps)
    told(f"{sdist.name} and {wheel.name} are good, after {time.perf_counter() - started:.0f} s")


def build(output: Path) -> tuple[Path, Path]:
    """The two files, in an output folder that held no others."""
    shutil.rmtree(output, ignore_errors=True)
    # No isolation: the build backend is in this environment, at the version that is pinned.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(output), str(ROOT))
    [sdist], [wheel] = output.glob("*.tar.gz"), output.glob("*.whl")
    return sdist, wheel


def check_sdist(sdist: Path) -> None:
    """Refuse sources that lack a folder."""
    listed = subprocess.run(["tar", "-tzf", sdist], capture_output=True, text=True, check=True)
    names = {line.partition("/")[2] for line in listed.stdout.splitlines()}
    for needed in NEEDED_SOURCES:
        if not any(name == needed or name.startswith(f"{needed}/") for name in names):
            raise SystemExit(f"error: {sdist.name} lacks {needed}")
    told(f"{sdist.name}: {sdist.stat().st_size / 1e6:.1f} MB, {len(names)} files")


def check_wheel(wheel: Path) -> None:
    """Refuse a wheel that is for one platform, too large, lacks something or has too much."""
    names = zipfile.ZipFile(wheel).namelist()
    told(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, {len(names)} files")
    if not wheel.name.endswith("-py3-none-any.whl"):
        raise SystemExit(f"error: {wheel.name} is not pure Python")
    if wheel.stat().st_size >= MOST_BYTES:
        raise SystemExit(f"error: {wheel.name} is larger than {MOST_BYTES / 1e6:.0f} MB")
    lacking = [name for name in NEEDED if name not in names]
    packages = ("omniflow/", "omniflow_cli/", "omniflow_zoo-")
    foreign = [name for name in names if not name.startswith(packages)]
    pickles = [name for name in names if name.endswith((".bin", ".pt", ".pkl", ".so", ".pyc"))]
    if lacking or foreign or pickles:
        raise SystemExit(f"error: {wheel.name} lacks {lacking}, and has {foreign + pickles}")


def try_wheel(wheel: Path, place: Path, pip: list[str], max_steps: int) -> None:
    """The main job, from an installed wheel and nothing else."""
    run(sys.executable, "-m", "venv", str(place / "venv"))
    python, omniflow = place / "venv" / "bin" / "python", place / "venv" / "bin" / "omniflow"
    begun = time.perf_counter()
    run(str(python), "-m", "pip", "install", "--quiet", *pip, f"{wheel}[eval]")
    run(str(python), "-m", "pip", "check")
    told(f"installed in {time.perf_counter() - begun:.0f} s")
    site = _answer(python, "import sysconfig; print(sysconfig.get_path('purelib'))")
    (Path(site) / "no_network.py").write_text(NO_NETWORK)
    (Path(site) / "no_network.pth").write_text("import no_network\n")
    imported = _answer(python, "import omniflow; print(omniflow.__file__)", cwd=place)
    if not Path(imported).is_relative_to(place):
        raise SystemExit(f"error: the trial imports {imported}, which is not the wheel's")
    folder = place / "empty"
    folder.mkdir()
    steps = ("--max-steps", str(max_steps), "--set", "training.eval_batches=2")
    for command in (
        ("train", "--head", "vq", "--refiner", "mlp", "--output-dir", "run", *steps),
        ("generate", "--checkpoint", "run", "--limit", "20", "--output", "predictions.json"),
        ("evaluate", "predictions.json", "--metrics", "bleu,rouge"),
        ("sample", "--prompt", "a red circle", "--steps", "4", "--output", "out.png"),
        ("doctor",),
    ):
        begun = time.perf_counter()
        run(str(omniflow), *command, cwd=folder)
        told(f"omniflow {command[0]} in {time.perf_counter() - begun:.0f} s")
    for made in ("run/final/model.safetensors", "predictions.json", "out.png"):
        if not (folder / made).stat().st_size:
            raise SystemExit(f"error: {made} is empty")


def _answer(python: Path, code: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True, cwd=cwd, env=_bare()
    )
    return done.stdout.strip()


def run(*command: str, cwd: Path | None = None) -> None:
    """Run a command; if it fails, so does this."""
    told("$ " + " ".join(command))
    subprocess.run(command, check=True, cwd=cwd, env=_bare())


def _bare() -> dict[str, str]:
    """The environment, less what would let the source tree or another configuration in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OMNIFLOW_")}
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        kept.pop(name, None)
    return kept


def told(line: str) -> None:
    """A line, at once."""
    print(line, flush=True)


if __name__ == "__main__":
    main()
