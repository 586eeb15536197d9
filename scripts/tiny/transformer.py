"""Joint transformer of `tiny`: the flow objective on latents that were computed once."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omniflow.checkpoints import read_tensors, write_tensors
from omniflow.interfaces.backbone import Streams
from omniflow.models.flow_scheduler import add_noise
from omniflow.models.joint_transformer import JointTransformer, JointTransformerConfig
from omniflow.models.text_vae import normalise_states
from omniflow.objectives.flow_levels import FlowPlan, FlowRules, LevelDistribution, draw_plan
from omniflow.objectives.flow_losses import (
    ORIGINAL_WEIGHTS,
    direction_loss,
    total_loss,
    velocity_loss,
    weighted_error,
)
from omniflow.tasks import Task

from .encoders import Towers, load_towers
from .latents import CAPTIONS, Latents
from .plumbing import Log, Means, batches, parameters, schedule, take_step, unshared
from .text import TEXT_VAE_CONFIG

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

#: How often each task is drawn: what makes text is the hardest to learn. The tasks without pictures
#: come first, for as many steps as `--blind-steps` says.
TASKS = {
    "t2t": 0.14, "i2t": 0.2, "a2t": 0.18, "t2i": 0.11, "t2a": 0.11, "i2a": 0.06, "a2i": 0.06,
    "it2a": 0.03, "at2i": 0.03, "ia2t": 0.03, "2iat": 0.05,
}  # fmt: skip

RULES = FlowRules(
    distribution=LevelDistribution(level_mean=0.3, level_std=1.2),
    absent_noise_share=0.12,
    drop_probability=0.08,
    clean_probability=0.95,
    clip_probability=0.35,
    pooled_drop_probability=0.2,
)
#: Share of text-making samples that start from nothing at all: level exactly 1, as in sampling.
PURE_NOISE_SHARE = 0.08
#: Share of text-to-text samples at or next to level 0, where heads are trained and used most.
NEARLY_CLEAN_SHARE = 0.12


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
    """Train on every task in turn and keep an average of the weights."""
    latents, (towers, _) = Latents.read(work, with_image=False), load_towers(work)
    transformer = new_transformer(options.seed)
    smoothed = new_transformer(options.seed).requires_grad_(False)
    log(f"transformer: {parameters(transformer):,} parameters; {len(latents):,} scenes")
    optimizer = torch.optim.AdamW(
        transformer.parameters(), lr=1.0, betas=(0.9, 0.99), weight_decay=0.01
    )
    rows = batches(len(latents), options.flow_batch, options.seed)
    tasks, weights = [Task.parse(name) for name in TASKS], torch.tensor([*TASKS.values()])
    is_blind = torch.tensor(["image" not in (*task.given, *task.made) for task in tasks])
    means = Means(log, "transformer")
    for step in range(1, options.transformer_steps + 1):
        if step == options.blind_steps:
            latents = Latents.read(work)
        allowed = is_blind if step <= options.blind_steps else torch.ones_like(is_blind)
        task = tasks[int(torch.multinomial(weights * allowed, 1))]
        plan = varied_levels(draw_plan(task, options.flow_batch, RULES))
        terms = flow_terms(transformer, towers, latents, next(rows), plan)
        factor = schedule(step, options.transformer_steps, warmup=200)
        loss = total_loss(terms, ORIGINAL_WEIGHTS)
        take_step(optimizer, transformer, loss, options.transformer_lr * factor)
        update_average(smoothed, transformer, decay=min(0.999, step / (step + 9)))
        if len(task.made) == 1:
            means.add(**{str(task): terms[task.made[0]].item()})
        means.report(step)
        if step % 250 == 0 or step == options.transformer_steps:
            write_tensors(work / "transformer.safetensors", unshared(smoothed))


def varied_levels(plan: FlowPlan) -> FlowPlan:
    """The plan with some texts at exactly 1, and in text to text some at or next to 0."""
    level = plan.levels.text
    if "text" not in plan.made or level is None:
        return plan
    kind = torch.rand(len(level))
    level = torch.where(kind < PURE_NOISE_SHARE, 1.0, level)
    if plan.task == Task.parse("t2t"):
        is_low = kind > 1 - NEARLY_CLEAN_SHARE
        low = torch.where(kind > 1 - NEARLY_CLEAN_SHARE / 2, 0.0, 0.1 * torch.rand(len(level)))
        level = torch.where(is_low, low, level)
    fields = {**vars(plan), "levels": plan.levels._replace(text=level)}
    return FlowPlan(**fields)


def flow_terms(
    transformer: JointTransformer, towers: Towers, latents: Latents, rows: Tensor, plan: FlowPlan
) -> dict[str, Tensor]:
    """The losses of what a plan makes, for some scenes."""
    caption = torch.randint(CAPTIONS, (len(rows),))
    stored = {"image": latents.image, "text": latents.text, "audio": latents.audio}
    clean = {
        name: (stored[name][rows, caption] if name == "text" else stored[name][rows]).float()
        for name, level in zip(Streams._fields, plan.levels, strict=True)
        if level is not None
    }
    states, pooled = conditions(towers, latents, rows, caption, plan)
    noise = {name: torch.randn_like(tensor) for name, tensor in clean.items()}
    noisy = {
        name: add_noise(clean[name], noise[name], getattr(plan.levels, name)) for name in clean
    }
    text = noisy.get("text")
    if text is not None:
        text = F.pad(text, (0, TRANSFORMER_CONFIG["joint_attention_dim"] - text.shape[-1]))
        text = text if states is None else torch.cat([states, text], dim=1)
    timesteps = Streams(*(None if level is None else 1000 * level for level in plan.levels))
    out = transformer(
        image=noisy.get("image"),
        text=text,
        audio=noisy.get("audio"),
        pooled=pooled,
        timestep_image=timesteps.image,
        timestep_text=timesteps.text,
        timestep_audio=timesteps.audio,
    )
    terms: dict[str, Tensor] = {}
    for name in plan.made:
        if name == "text":
            terms["text"] = weighted_error(out.text, clean["text"])
            terms["direction"] = direction_loss(out.text, clean["text"])
        else:
            made = getattr(out, name)
            terms[name] = velocity_loss(made, clean=clean[name], noise=noise[name])
    return terms


def conditions(
    towers: Towers, latents: Latents, rows: Tensor, caption: Tensor, plan: FlowPlan
) -> tuple[Tensor | None, Tensor]:
    """CLIP states of the captions, if the plan has them, and the pooled condition."""
    width = TRANSFORMER_CONFIG["pooled_projection_dim"]
    pooled = torch.zeros(len(rows), width)
    states = None
    if plan.has_clip or plan.pooled_from == "text":
        ids = latents.clip[rows, caption].long()
        outputs = [
            tower(ids, output_hidden_states=True)
            for tower in (towers.text_encoder, towers.text_encoder_2)
        ]
        if plan.has_clip:
            states = normalise_states(torch.cat([out.hidden_states[-2] for out in outputs], dim=-1))
            lost = plan.dropped.text
            if lost is not None:
                noise = torch.randn_like(states)
                states = torch.where(lost[:, None, None], noise, states)
        if plan.pooled_from == "text":
            pooled = torch.cat([out.text_embeds for out in outputs], dim=-1)
    if plan.pooled_from in ("image", "audio"):
        stored = latents.pooled_image if plan.pooled_from == "image" else latents.pooled_audio
        pooled = F.pad(stored[rows].float(), (0, width - stored.shape[1]))
    return states, pooled * plan.pooled_kept[:, None]


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
