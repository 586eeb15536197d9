"""Plugin: keeps a diary of every run in the run's folder."""

from datetime import datetime

from omniflow import hookimpl

OMNIFLOW_API_VERSION = 1


@hookimpl
def omniflow_run_started(folder, recipe, step, total_steps):
    """Open a chapter, also when the run goes on."""
    parts = f"head {recipe['head']['name']}, refiner {recipe['refiner']['name']}"
    write(folder, f"\n# Step {step} of {total_steps}: {parts}\n")


@hookimpl
def omniflow_evaluated(folder, step, figures, is_best):
    """Note what was better than all before."""
    if is_best:
        measured = ", ".join(
            f"{name} {value:.4g}"
            for name, value in figures.items()
            if name not in ("step", "split", "seconds")
        )
        write(folder, f"- step {step}: best so far, {measured}")


@hookimpl
def omniflow_run_ended(folder, how, step, error):
    """Close the chapter; hooks take the arguments that they need and leave out others."""
    write(folder, f"- step {step}: {how}" + (f", {error}" if error else ""))


def write(folder, line):
    """Add a line with the time; what goes wrong here is logged, and the run goes on."""
    with (folder / "diary.md").open("a", encoding="utf-8") as file:
        file.write(line if line.endswith("\n") else f"{line} ({datetime.now():%H:%M:%S})\n")
