"""Make the embedded `tiny` backbone, from nothing: a whole OmniFlow model of 12 million parameters.

    python scripts/make_tiny.py                      # everything, some 5 hours on two cores
    python scripts/make_tiny.py --stage transformer  # from one stage on, keeping the earlier ones

Nothing is downloaded. Pictures, captions and sounds come from the `scenes` dataset (train split);
the ordinary English comes from `pydoc_data.topics`, the language reference that ships with Python
itself. Each stage is seeded and leaves its result in `--work`, so that a later stage can be rerun
without the earlier ones; the last one measures the text part and writes the folder in the published
layout. `scripts/bench/any_to_any.py` measures what the whole model can do.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from tiny.autoencoders import train_autoencoder
from tiny.encoder_training import train_encoders
from tiny.folder import write_folder
from tiny.latents import PARTS, cache_latents
from tiny.plumbing import Log
from tiny.text import make_tokenizers, train_text_vae
from tiny.transformer import train_transformer

STAGES = (
    "tokenizers", "text-vae", "image-vae", "audio-vae", "encoders", "latents", "transformer",
    "folder",
)  # fmt: skip


def run_stage(stage: str, options: argparse.Namespace, log: Log) -> None:
    """Carry out one stage."""
    work = options.work
    if stage == "tokenizers":
        make_tokenizers(work / "folder")
    elif stage == "text-vae":
        train_text_vae(work / "folder", work, options, log)
    elif stage == "image-vae":
        train_autoencoder("image", work, options, log)
    elif stage == "audio-vae":
        train_autoencoder("audio", work, options, log)
    elif stage == "encoders":
        train_encoders(work, options, log)
    elif stage == "latents":
        for part in PARTS:
            cache_latents(part, work, options, log)
    elif stage == "transformer":
        train_transformer(work, options, log)
    else:
        write_folder(work, options, log)


def main() -> None:
    """Run the stages from the one asked for to the last."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--stage", choices=("all", *STAGES), default="all", help="first stage")
    parser.add_argument("--until", choices=STAGES, default="folder", help="last stage")
    parser.add_argument("--work", type=Path, default=Path("build/tiny"))
    parser.add_argument("--output", type=Path, default=Path("src/omniflow/assets/tiny"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--captions", type=int, default=100_000)
    parser.add_argument("--text-batch", type=int, default=32)
    parser.add_argument("--text-vae-steps", type=int, default=4000)
    parser.add_argument("--text-vae-lr", type=float, default=2e-3)
    parser.add_argument("--vae-batch", type=int, default=32)
    parser.add_argument("--vae-steps", type=int, default=1400)
    parser.add_argument("--vae-lr", type=float, default=2e-3)
    parser.add_argument("--image-vae-rounds", type=int, default=4)
    parser.add_argument("--decoder-steps", type=int, default=1500)
    parser.add_argument("--audio-vae-rounds", type=int, default=1)
    parser.add_argument("--encoder-batch", type=int, default=128)
    parser.add_argument("--encoder-steps", type=int, default=3000)
    parser.add_argument("--image-tower-steps", type=int, default=4000)
    parser.add_argument("--encoder-lr", type=float, default=3e-3)
    parser.add_argument("--scenes", type=int, default=40_000)
    parser.add_argument("--flow-batch", type=int, default=64)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--transformer-minutes", type=float, default=120.0)
    parser.add_argument("--start", type=Path, help="transformer weights to go on from")
    parser.add_argument("--transformer-lr", type=float, default=1.2e-3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    log = Log(options.work / "log.txt")
    first = 0 if options.stage == "all" else STAGES.index(options.stage)
    for stage in STAGES[first : STAGES.index(options.until) + 1]:
        torch.manual_seed(options.seed)
        run_stage(stage, options, log)


if __name__ == "__main__":
    main()
