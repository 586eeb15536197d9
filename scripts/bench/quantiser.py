"""Which quantiser suits the VQ head? Compares candidates on the same data in one run.

    OMP_NUM_THREADS=1 python scripts/bench/quantiser.py
    OMP_NUM_THREADS=1 python scripts/bench/quantiser.py --only chosen --options   # ours

The library candidates need `pip install vector-quantize-pytorch`; without it they are left out.
What the columns mean and what was decided is in docs/quantiser.md.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from omniflow.models.quantiser import Quantised, VectorQuantiser, code_perplexity

TOKENS, LATENT_DIM, FEATURE_DIM, HIDDEN_DIM = 16, 64, 128, 256
FACTORS, VALUES = 6, 8

Make = Callable[[int], nn.Module]


class World:
    """Correlated latents: discrete factors through a random two-layer network, plus noise.

    Tokens have mean 0 and deviation 1 over their features, as the text VAE's layer norm makes
    them. The head sees them noised at a random level, through a fixed random projection.
    """

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        width = 48
        self.factors = self._normal(FACTORS, VALUES, width)
        self.positions = self._normal(TOKENS, width)
        self.mixing = self._normal(TOKENS, FACTORS)
        self.inner = self._normal(width, 2 * width) / width**0.5
        self.outer = self._normal(2 * width, LATENT_DIM) / width**0.5
        self.features = self._normal(LATENT_DIM + 1, FEATURE_DIM) / LATENT_DIM**0.5

    def draw(self, batch: int) -> tuple[Tensor, Tensor]:
        """Features [batch, tokens, feature_dim] and clean latents [batch, tokens, latent_dim]."""
        drawn = torch.randint(VALUES, (batch, FACTORS), generator=self.generator)
        chosen = self.factors[torch.arange(FACTORS), drawn]
        mixed = torch.einsum("tf,bfw->btw", self.mixing, chosen) / FACTORS**0.5 + self.positions
        latents = torch.tanh(mixed @ self.inner) @ self.outer
        latents = latents + 0.15 * self._normal(*latents.shape)
        latents = F.layer_norm(latents, (LATENT_DIM,))
        sigma = torch.rand(batch, 1, 1, generator=self.generator).expand(-1, TOKENS, -1)
        noisy = (1 - sigma) * latents + sigma * self._normal(*latents.shape)
        return torch.cat([noisy, sigma], dim=-1) @ self.features, latents

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)


class NoQuantiser(nn.Module):
    """The MLP alone: the error that no codebook can beat."""

    def forward(self, vectors: Tensor) -> Quantised:
        """Hand the vectors back as they are."""
        codes = torch.zeros(vectors.shape[:-1], dtype=torch.long, device=vectors.device)
        return Quantised(vectors, codes, vectors.new_zeros(()))


class WorstFirst(VectorQuantiser):
    """Ours, dead codes replaced with the vectors that are quantised worst (needs no random)."""

    def _candidates(self, flat: Tensor, codes: Tensor) -> Tensor:
        error = (flat - self.codebook[codes]).square().sum(dim=-1)
        return flat[error.argsort(descending=True)]


class ByError(VectorQuantiser):
    """Ours, candidates drawn in proportion to their squared error, as k-means++ does."""

    def _candidates(self, flat: Tensor, codes: Tensor) -> Tensor:
        error = (flat - self.codebook[codes]).square().sum(dim=-1)
        noise = torch.empty_like(error).exponential_()
        return flat[(error / noise).argsort(descending=True)]


class Cosine(VectorQuantiser):
    """Ours, nearest by angle; codes keep their length."""

    def nearest(self, flat: Tensor) -> Tensor:
        """Index of the code at the smallest angle to each vector."""
        return (flat @ F.normalize(self.codebook, dim=-1).T).argmax(dim=-1)


class GradientCodebook(VectorQuantiser):
    """Ours, the codebook a parameter trained by the codebook loss, dead codes revived."""

    def __init__(self, dim: int, codebook_size: int, **options: float) -> None:
        super().__init__(dim, codebook_size, **options)
        codebook = self.codebook
        del self.codebook
        self.codebook = nn.Parameter(codebook)

    def forward(self, vectors: Tensor) -> Quantised:
        """Quantise; the loss trains the codebook."""
        flat = vectors.detach().flatten(end_dim=-2)
        with torch.no_grad():
            codes = self.nearest(flat)
        chosen = F.embedding(codes, self.codebook).view_as(vectors)
        loss = F.mse_loss(chosen, vectors.detach())
        loss = loss + self.commitment_weight * F.mse_loss(vectors, chosen.detach())
        latents = vectors + (chosen - vectors).detach() if self.training else chosen
        if self.training:
            with torch.no_grad():
                counts = (codes[:, None] == torch.arange(len(self.usage))).float().sum(dim=0)
                self.idle.add_(len(flat) / len(counts)).masked_fill_(counts > 0, 0.0)
                self._revive(flat, codes)
        return Quantised(latents, codes.view(vectors.shape[:-1]), loss)


class LinearCodebook(nn.Module):
    """SimVQ (arXiv 2411.02038): a frozen random codebook behind one trainable linear map."""

    def __init__(self, dim: int, codebook_size: int, commitment_weight: float = 0.25) -> None:
        super().__init__()
        self.commitment_weight = commitment_weight
        self.register_buffer("frozen", torch.randn(codebook_size, dim) * dim**-0.5)
        self.map = nn.Linear(dim, dim, bias=False)

    def forward(self, vectors: Tensor) -> Quantised:
        """Quantise; the loss trains the map."""
        codebook = self.map(self.frozen)
        flat = vectors.detach().flatten(end_dim=-2)
        with torch.no_grad():
            scores = torch.addmm(codebook.square().sum(dim=-1), flat, codebook.T, alpha=-2.0)
            codes = scores.argmin(dim=-1)
        chosen = F.embedding(codes, codebook).view_as(vectors)
        loss = F.mse_loss(chosen, vectors.detach())
        loss = loss + self.commitment_weight * F.mse_loss(vectors, chosen.detach())
        latents = vectors + (chosen - vectors).detach() if self.training else chosen
        return Quantised(latents, codes.view(vectors.shape[:-1]), loss)


class Library(nn.Module):
    """A quantiser of vector-quantize-pytorch behind our signature."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, vectors: Tensor) -> Quantised:
        """Quantise as the library does."""
        return Quantised(*self.inner(vectors))


class Head(nn.Module):
    """The VQ head, small, around any quantiser."""

    def __init__(self, quantiser: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(FEATURE_DIM, HIDDEN_DIM), nn.GELU(), nn.Linear(HIDDEN_DIM, LATENT_DIM)
        )
        self.quantiser = quantiser

    def forward(self, features: Tensor) -> Quantised:
        """Features to quantised latents."""
        return self.quantiser(self.layers(features))


def candidates() -> dict[str, Make]:
    """Name -> maker by codebook size. The first is the floor, the second what the package ships."""
    ours: dict[str, Make] = {
        "MLP, no quantiser": lambda size: NoQuantiser(),
        "ours: EMA, straight-through, revival (chosen)": lambda size: VectorQuantiser(
            LATENT_DIM, size
        ),
        "ours: rotation": lambda size: VectorQuantiser(LATENT_DIM, size, gradient="rotation"),
        "ours: no revival": lambda size: VectorQuantiser(LATENT_DIM, size, revive_after=0),
        "ours: revival from the worst": lambda size: WorstFirst(LATENT_DIM, size),
        "ours: revival by error": lambda size: ByError(LATENT_DIM, size),
        "ours: by angle": lambda size: Cosine(LATENT_DIM, size),
        "ours: codebook by gradient, revival": lambda size: GradientCodebook(LATENT_DIM, size),
        "ours: SimVQ, straight-through": lambda size: LinearCodebook(LATENT_DIM, size),
    }
    try:
        from vector_quantize_pytorch import SimVQ, VectorQuantize
    except ImportError:
        return ours

    def library(**options: object) -> Make:
        return lambda size: Library(
            VectorQuantize(LATENT_DIM, size, commitment_weight=0.25, **options)
        )

    return ours | {
        "library: defaults": library(),
        "library: revival, threshold 2": library(threshold_ema_dead_code=2),
        "library: decay 0.99, revival 0.02": library(decay=0.99, threshold_ema_dead_code=0.02),
        "library: k-means, revival 2": library(kmeans_init=True, threshold_ema_dead_code=2),
        "library: k-means, d. 0.99, revival 0.02": library(
            kmeans_init=True, decay=0.99, threshold_ema_dead_code=0.02
        ),
        "library: cosine, revival 2": library(use_cosine_sim=True, threshold_ema_dead_code=2),
        "library: SimVQ": lambda size: Library(SimVQ(LATENT_DIM, size)),
    }


def option_candidates() -> dict[str, Make]:
    """Our own options against each other."""

    def ours(**options: float) -> Make:
        return lambda size: VectorQuantiser(LATENT_DIM, size, **options)

    makes = {
        f"decay {decay}, revive after {patience}": ours(decay=decay, revive_after=patience)
        for decay in (0.9, 0.99)
        for patience in (1, 4, 8, 16, 64)
    }
    return makes | {f"commitment {w}": ours(commitment_weight=w) for w in (0.05, 1.0)}


def train_step(head: nn.Module, optimiser: torch.optim.Optimizer, world: World, batch: int) -> None:
    """One step on latents' squared error plus the quantiser's own loss."""
    features, latents = world.draw(batch)
    output = head(features)
    loss = F.mse_loss(output.latents, latents) + output.loss
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def quality(make: Make, size: int, seed: int, steps: int, batch: int) -> dict[str, float]:
    """Train from scratch and measure on fresh data, quantiser in eval mode."""
    torch.manual_seed(seed)
    head = Head(make(size))
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    world = World(seed)
    for _ in range(steps):
        train_step(head, optimiser, world, batch)
        schedule.step()
    head.eval()
    with torch.no_grad():
        features, latents = world.draw(2048)
        output = head(features)
    used = torch.bincount(output.codes.flatten(), minlength=size)
    return {
        "mse": F.mse_loss(output.latents, latents).item(),
        "perplexity": code_perplexity(output.codes, size),
        "dead": (used == 0).sum().item(),
    }


def step_time(make: Make, size: int, batch: int, rounds: int = 60) -> tuple[float, float]:
    """Median milliseconds of a step and of the same step without quantiser, by turns."""
    runs = []
    for maker in (make, lambda _: NoQuantiser()):
        head = Head(maker(size))
        runs.append((head, torch.optim.AdamW(head.parameters(), lr=1e-3), World(0), []))
    for _ in range(rounds):
        for head, optimiser, world, times in runs:
            started = time.perf_counter()
            train_step(head, optimiser, world, batch)
            times.append(1000 * (time.perf_counter() - started))
    ours, bare = (statistics.median(times[rounds // 3 :]) for *_, times in runs)
    return ours, bare


class HostReads(TorchDispatchMode):
    """Counts what makes the host wait for the device: scalars read, shapes that depend on data."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name in {"index", "index_put", "index_put_", "_index_put_impl_"} and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if name in {"_local_scalar_dense", "nonzero", "bincount"} or by_mask:
            self.count += 1
        return func(*args, **(kwargs or {}))


def host_reads(make: Make, size: int) -> str:
    """Host reads of one training step of the quantiser, on average over 20 (data not counted)."""
    torch.manual_seed(0)
    quantiser = make(size)
    with HostReads() as reads:
        for _ in range(20):
            output = quantiser(torch.randn(32, TOKENS, LATENT_DIM, requires_grad=True))
            (output.latents.square().mean() + output.loss).backward()
    return f"{reads.count / 20:.1f}"


def exact_resume(make: Make, size: int, batch: int) -> str:
    """Whether 20 steps, safetensors, 20 steps equal 40 steps, bit for bit."""

    def start(seed: int) -> tuple[Head, torch.optim.Optimizer]:
        torch.manual_seed(seed)
        head = Head(make(size))
        return head, torch.optim.AdamW(head.parameters(), lr=1e-3)

    world = World(0)
    head, optimiser = start(0)
    for _ in range(20):
        train_step(head, optimiser, world, batch)
    kept = copy.deepcopy((optimiser.state_dict(), world, torch.get_rng_state()))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "head.safetensors"
        try:
            save_file(head.state_dict(), file)
        except Exception as error:  # noqa: BLE001
            return type(error).__name__
        for _ in range(20):
            train_step(head, optimiser, world, batch)
        resumed, other = start(1)
        resumed.load_state_dict(load_file(file))
    other.load_state_dict(kept[0])
    torch.set_rng_state(kept[2])
    for _ in range(20):
        train_step(resumed, other, kept[1], batch)
    pairs = zip(head.state_dict().values(), resumed.state_dict().values(), strict=True)
    return "yes" if all(torch.equal(a, b) for a, b in pairs) else "NO"


def float32_inside(make: Make, size: int) -> str:
    """Whether a bfloat16 autocast on the CPU leaves codes and latents as they are."""
    torch.manual_seed(0)
    quantiser = make(size)
    for _ in range(5):
        quantiser(torch.randn(32, TOKENS, LATENT_DIM))
    # In training mode, on two copies: evaluation often takes another path.
    twin = copy.deepcopy(quantiser)
    vectors = torch.randn(32, TOKENS, LATENT_DIM, requires_grad=True)
    state = torch.get_rng_state()
    plain = quantiser(vectors)
    torch.set_rng_state(state)
    with torch.autocast("cpu", torch.bfloat16):
        cast = twin(vectors)
    same = torch.equal(plain.codes, cast.codes) and torch.equal(plain.latents, cast.latents)
    return "yes" if same else "NO"


def main() -> None:
    """Measure every candidate at every codebook size and print one table a size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 2048])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=[""], help="parts of candidates' names")
    parser.add_argument("--options", action="store_true", help="also our own options")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    chosen = {
        name: make
        for name, make in candidates().items()
        if any(part in name for part in arguments.only)
    }
    if arguments.options:
        chosen |= option_candidates()

    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} thread(s); {arguments.steps} steps "
        f"of {arguments.batch} x {TOKENS} vectors; mean of {arguments.seeds} seeds (+- deviation)"
    )
    for size in arguments.sizes:
        print(f"\nCodebook of {size}\n")
        titles = "candidate | MSE | perplexity | dead | ms a step | ratio | parameters | "
        print(f"| {titles}exact resume | host reads a step | float32 in autocast |")
        print("| --- " + "| ---: " * 6 + "| --- | ---: | --- |")
        for name, make in chosen.items():
            runs = [
                quality(make, size, seed, arguments.steps, arguments.batch)
                for seed in range(arguments.seeds)
            ]
            mean = {key: statistics.fmean(run[key] for run in runs) for key in runs[0]}
            spread = statistics.pstdev(run["mse"] for run in runs)
            milliseconds, bare = step_time(make, size, arguments.batch)
            parameters = sum(parameter.numel() for parameter in make(size).parameters())
            print(
                f"| {name} | {mean['mse']:.4f} +- {spread:.4f} | {mean['perplexity']:.0f} "
                f"| {mean['dead']:.0f} | {milliseconds:.1f} | {milliseconds / bare:.2f} "
                f"| {parameters} | {exact_resume(make, size, arguments.batch)} "
                f"| {host_reads(make, size)} | {float32_inside(make, size)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
