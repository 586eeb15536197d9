"""Joint transformer of `tiny`: the flow objective on latents that were computed once."""

from __future__ import annotations

import argparse
import copy
import re
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from omniflow.checkpoints import read_tensors, write_tensors
from omniflow.draws import Draws
from omniflow.interfaces.backbone import Streams
from omniflow.models.flow_scheduler import add_noise
from omniflow.models.joint_transformer import JointTransformer, JointTransformerConfig
from omniflow.models.text_vae import TextVAE, normalise_states
from omniflow.objectives.flow_levels import FlowPlan, FlowRules, LevelDistribution, draw_plan
from omniflow.objectives.flow_losses import (
    IGNORED,
    ORIGINAL_WEIGHTS,
    decoder_loss,
    direction_loss,
    total_loss,
    velocity_loss,
    weighted_error,
)
from omniflow.objectives.noise_coupling import matched
from omniflow.tasks import Task

from .encoders import Towers, load_towers
from .latents import CAPTIONS, Latents
from .muon import Muon
from .plumbing import Log, Means, cosine, fast_precision, parameters, set_lr, unshared
from .text import TEXT_VAE_CONFIG, load_text_vae

TRANSFORMER_CONFIG = {
    "_class_name": "OmniFlowTransformerModel",
    "sample_size": 8,
    "patch_size": 2,
    "in_channels": 8,
    "out_channels": 8,
    "num_layers": 6,
    "attention_head_dim": 32,
    "num_attention_heads": 5,
    "joint_attention_dim": 128,
    "caption_projection_dim": 160,
    "pooled_projection_dim": 128,
    "audio_input_dim": 8,
    "pos_embed_max_size": 8,
    "dual_attention_layers": [],
    "decoder_config": "",
    "add_audio": True,
    "add_clip": False,
    "use_audio_mae": False,
    "drop_text": False,
    "drop_image": False,
    "drop_audio": False,
    "qk_norm": "layer_norm",
    "audio_height": 16,
    "audio_width": 8,
    "audio_patch_size": 2,
    "audio_pos_embed_max_size": 8,
    "audio_sample_size": 16,
}

#: How often each task is drawn. Text to text is the text part of before, kept up.
TASKS = {
    "t2i": 0.28, "i2t": 0.13, "t2a": 0.11, "a2t": 0.06, "i2a": 0.07, "a2i": 0.14,
    "it2a": 0.03, "at2i": 0.07, "ia2t": 0.03, "t2t": 0.06, "2iat": 0.02,
}  # fmt: skip

RULES = FlowRules(
    distribution=LevelDistribution(level_mean=0.5, level_std=1.2),
    absent_noise_share=0.06,
    drop_probability=0.06,
    clean_probability=0.97,
    clip_probability=0.06,
    pooled_drop_probability=0.12,
)
#: Levels of what is made of something else, and the share of it at exactly 1, as sampling starts:
#: what is given decides at high levels, so that is where it is learned.
GIVEN_LEVELS = {
    "image": LevelDistribution(level_mean=1.0, level_std=1.2),
    "text": LevelDistribution(level_mean=1.2, level_std=1.2),
    "audio": LevelDistribution(level_mean=1.0, level_std=1.2),
}
GIVEN_PURE_NOISE_SHARES = {"image": 0.25, "text": 0.3, "audio": 0.0}
#: The same share of texts made of texts.
PURE_NOISE_SHARE = 0.08
WEIGHTS = {**ORIGINAL_WEIGHTS, "ce": 0.3}
#: Share of text-to-text samples at or next to level 0, where heads are trained and used most.
NEARLY_CLEAN_SHARE = 0.12
#: Steps over which the learning rate rises, and steps between writing the weights.
WARMUP, SAVED_EVERY = 100, 500
#: Largest norm of a gradient. Most are longer: what counts is their direction.
CLIP = 0.06
#: Learning rate of what Muon does not train, by that of what it does.
ADAM_LR_SHARE = 0.8
TEXT_TO_TEXT = Task.parse("t2t")


def new_transformer(seed: int) -> JointTransformer:
    """An untrained joint transformer of the tiny size."""
    torch.manual_seed(seed)
    config = JointTransformerConfig.from_dict(TRANSFORMER_CONFIG)
    latent_dim = TEXT_VAE_CONFIG["vae_config"]["vae_dim"]
    transformer = JointTransformer(config, text_output_dim=latent_dim)
    for name, parameter in transformer.named_parameters():
        if parameter.ndim == 2:
            nn.init.xavier_uniform_(parameter)
        elif name.endswith(".bias"):
            nn.init.zeros_(parameter)
        # Gates at zero: every block starts as the identity.
        if re.search(r"norm1\w*\.linear|norm_out\w*\.linear", name):
            nn.init.zeros_(parameter)
    return transformer


def train_transformer(work: Path, options: argparse.Namespace, log: Log) -> None:
    """Train on every task in turn and keep an average of the weights.

    `--processes` processes of one thread each share every step, each with a task and a batch of its
    own: small matrices leave a second thread of one process idle.
    """
    meeting = work / "meeting"
    meeting.unlink(missing_ok=True)
    torch.multiprocessing.spawn(_train, (work, options), nprocs=options.processes)


def _train(rank: int, work: Path, options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{(work / 'meeting').resolve()}", rank=rank, world_size=options.processes
    )
    log = Log(work / f"transformer-{rank}.log")
    latents, (towers, _) = Latents.read(work), load_towers(work)
    frozen = Frozen(latents, towers, load_text_vae(work))
    transformer = new_transformer(options.seed)
    if options.start is not None:
        transformer.load_state_dict(read_tensors(options.start), strict=False)
    smoothed = copy.deepcopy(transformer).requires_grad_(False)
    log(f"transformer: {parameters(transformer):,} parameters; {len(latents):,} scenes")
    optimizers, gradients = optimizers_of(transformer, options.transformer_lr), shared(transformer)
    torch.manual_seed(options.seed + rank)
    tasks = TaskDraws(options.seed)
    means = Means(log, "transformer")
    course = Course(options.transformer_minutes)
    step = 0
    while (done := course.done()) < 1:
        step += 1
        *seeds, of_batch = torch.randint(2**62, (options.flow_batch + 1,)).tolist()
        plan = varied_levels(draw_plan(tasks.draw(), Draws(seeds, of_batch), RULES))
        rows = torch.randint(len(latents), (options.flow_batch,))
        terms = flow_terms(transformer, frozen, rows, plan)
        gradients.zero_()
        total_loss(terms, WEIGHTS).backward()
        dist.all_reduce(gradients)
        gradients.mul_((CLIP / gradients.norm()).clamp(max=1.0 / options.processes))
        factor = min(1.0, step / WARMUP) * cosine(done)
        for optimizer, lr in optimizers:
            set_lr(optimizer, lr * factor)
            optimizer.step()
        update_average(smoothed, transformer, decay=min(0.999, step / (step + 9)))
        if len(plan.made) == 1:
            means.add(**{str(plan.task): terms[plan.made[0]].item()})
        means.report(step)
        if rank == 0 and step % SAVED_EVERY == 0:
            write_tensors(work / "transformer.safetensors", unshared(smoothed))
            write_tensors(work / "transformer_raw.safetensors", unshared(transformer))
    if rank == 0:
        write_tensors(work / "transformer.safetensors", unshared(smoothed))
    dist.destroy_process_group()


@dataclass(frozen=True)
class Frozen:
    """What the transformer is trained with and on."""

    latents: Latents
    towers: Towers
    text_vae: TextVAE


class Course:
    """How much of the training is done, by the clock of process 0: all leave at the same step."""

    def __init__(self, minutes: float) -> None:
        self.minutes, self.started = minutes, time.monotonic()

    def done(self) -> float:
        """The share of the time that has passed; to be asked by all processes at once."""
        passed = torch.tensor((time.monotonic() - self.started) / (60 * self.minutes))
        dist.broadcast(passed, src=0)
        return passed.item()


class TaskDraws:
    """A task for each step: all processes draw one of the same number of tokens."""

    def __init__(self, seed: int) -> None:
        self.together = torch.Generator().manual_seed(seed)
        self.groups: dict[int, dict[Task, float]] = {}
        for name, weight in TASKS.items():
            task = Task.parse(name)
            size = sum(2 if modality == "audio" else 1 for modality in {*task.given, *task.made})
            self.groups.setdefault(size, {})[task] = weight

    def draw(self) -> Task:
        """Draw the size with all, the task alone."""
        sizes = torch.tensor([sum(group.values()) for group in self.groups.values()])
        chosen = int(torch.multinomial(sizes, 1, generator=self.together))
        group = [*self.groups.values()][chosen]
        return [*group][int(torch.multinomial(torch.tensor([*group.values()]), 1))]


def optimizers_of(
    transformer: JointTransformer, lr: float
) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon for the matrices of the blocks, AdamW for everything else, and the rate of each."""
    named = dict(transformer.named_parameters())
    matrices = {
        name
        for name, parameter in named.items()
        if parameter.ndim == 2 and name.startswith("transformer_blocks") and "norm1" not in name
    }
    others = [parameter for name, parameter in named.items() if name not in matrices]
    adam = torch.optim.AdamW(others, lr=1.0, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    return [(Muon(named[name] for name in sorted(matrices)), lr), (adam, ADAM_LR_SHARE * lr)]


def shared(transformer: nn.Module) -> Tensor:
    """One tensor that holds the gradients of all parameters, for the processes to add up."""
    gradients = torch.zeros(parameters(transformer))
    start = 0
    for parameter in transformer.parameters():
        parameter.grad = gradients[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()
    return gradients


def varied_levels(plan: FlowPlan) -> FlowPlan:
    """The plan with noisier levels of what is made of something else.

    Texts made of texts are now and then at exactly 1, as in sampling, and at or next to 0.
    """
    levels, count = plan.levels, len(plan.pooled_kept)
    if plan.task == TEXT_TO_TEXT and levels.text is not None:
        kind = torch.rand(count)
        low = torch.where(kind > 1 - NEARLY_CLEAN_SHARE / 2, 0.0, 0.1 * torch.rand(count))
        text = torch.where(kind > 1 - NEARLY_CLEAN_SHARE, low, levels.text)
        levels = levels._replace(text=torch.where(kind < PURE_NOISE_SHARE, 1.0, text))
    elif plan.task.given:
        for name in plan.made:
            level = GIVEN_LEVELS[name].at(torch.rand(count))
            is_pure = torch.rand(count) < GIVEN_PURE_NOISE_SHARES[name]
            levels = levels._replace(**{name: torch.where(is_pure, 1.0, level)})
    return FlowPlan(**{**vars(plan), "levels": levels})


def flow_terms(
    transformer: JointTransformer, frozen: Frozen, rows: Tensor, plan: FlowPlan
) -> dict[str, Tensor]:
    """The losses of what a plan makes, for some scenes.

    A text that is made from something else is the plain caption: how it is put can't be known.
    """
    latents, caption = frozen.latents, torch.randint(CAPTIONS, (len(rows),))
    is_plain = "text" in plan.made and plan.task != TEXT_TO_TEXT
    text = latents.plain[rows] if is_plain else latents.text[rows, caption]
    stored = Streams(image=latents.image[rows], text=text, audio=latents.audio[rows])
    clean = {
        name: getattr(stored, name).float()
        for name, level in zip(Streams._fields, plan.levels, strict=True)
        if level is not None
    }
    noise = {name: torch.randn_like(tensor) for name, tensor in clean.items()}
    if "text" in plan.made:
        noise["text"] = matched(noise["text"], clean["text"])
    noisy = {
        name: add_noise(clean[name], noise[name], getattr(plan.levels, name)) for name in clean
    }
    timesteps = Streams(*(None if level is None else 1000 * level for level in plan.levels))
    with fast_precision():
        out = transformer(
            image=noisy.get("image"),
            text=text_rows(frozen, noisy.get("text"), rows, caption, plan),
            audio=noisy.get("audio"),
            pooled=pooled_rows(latents, rows, caption, plan),
            timestep_image=timesteps.image,
            timestep_text=timesteps.text,
            timestep_audio=timesteps.audio,
        )
    terms: dict[str, Tensor] = {}
    for name in plan.made:
        if name == "text":
            terms |= text_terms(frozen, out.text.float(), clean["text"], rows, plan)
        else:
            made = getattr(out, name).float()
            terms[name] = velocity_loss(made, clean=clean[name], noise=noise[name])
    return terms


def text_terms(
    frozen: Frozen, made: Tensor, clean: Tensor, rows: Tensor, plan: FlowPlan
) -> dict[str, Tensor]:
    """Error and direction of latents; where something is given, what the decoder reads in them."""
    terms = {"text": weighted_error(made, clean), "direction": direction_loss(made, clean)}
    if plan.task.given and plan.task != TEXT_TO_TEXT:
        labels = frozen.latents.labels[rows].long()
        longest = int((labels != IGNORED).sum(1).max())
        ids = frozen.latents.input_ids[rows, :longest].long()
        with fast_precision():
            logits = frozen.text_vae.logits(made, ids)
        terms["ce"] = decoder_loss(logits, labels[:, :longest])
    return terms


def text_rows(
    frozen: Frozen, latents: Tensor | None, rows: Tensor, caption: Tensor, plan: FlowPlan
) -> Tensor | None:
    """The text stream: latents, filled up with zeros, after the CLIP states if there are some."""
    if latents is None:
        return None
    latents = F.pad(latents, (0, TRANSFORMER_CONFIG["joint_attention_dim"] - latents.shape[-1]))
    if not plan.has_clip:
        return latents
    ids = frozen.latents.clip[rows, caption].long()
    with torch.no_grad():
        outputs = [
            tower(ids, output_hidden_states=True).hidden_states[-2]
            for tower in (frozen.towers.text_encoder, frozen.towers.text_encoder_2)
        ]
    states = normalise_states(torch.cat(outputs, dim=-1))
    if (lost := plan.dropped.text) is not None:
        states = torch.where(lost[:, None, None], torch.randn_like(states), states)
    return torch.cat([states, latents], dim=1)


def pooled_rows(latents: Latents, rows: Tensor, caption: Tensor, plan: FlowPlan) -> Tensor:
    """The pooled condition [batch, 128]."""
    if plan.pooled_from is None:
        return torch.zeros(len(rows), TRANSFORMER_CONFIG["pooled_projection_dim"])
    stored = getattr(latents, f"pooled_{plan.pooled_from}")
    pooled = stored[rows, caption] if plan.pooled_from == "text" else stored[rows]
    return pooled.float() * plan.pooled_kept[:, None]


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Exponential moving average of the weights."""
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)


def load_transformer(work: Path) -> JointTransformer:
    """The transformer that the stage before left behind, as it is shipped."""
    transformer = new_transformer(0)
    stored = read_tensors(work / "transformer.safetensors")
    kept = {name: tensor.bfloat16().float() for name, tensor in stored.items()}
    transformer.load_state_dict(
        {name: tensor for name, tensor in kept.items() if "pos_embed.pos" not in name}, strict=False
    )
    return transformer.eval().requires_grad_(False)
