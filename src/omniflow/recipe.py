"""Recipe: the complete, typed description of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from omniflow.errors import ConfigError, closest
from omniflow.mixing import Mixing

FORMAT = "omniflow.recipe/1"

#: Sections that name one component, and those that name any number.
SINGLE_SECTIONS = ("backbone", "head", "refiner", "objective")
LIST_SECTIONS = ("encoder", "dataset")

#: More samples a forward pass take minutes to be read before anything is seen of the run.
LARGEST_BATCH = 65_536

#: What `training.trackers` may name.
TRACKERS = ("tensorboard", "trackio", "wandb")

#: What a run may train, as `training.lr_scale` calls it.
TRAINED_PARTS = ("transformer", "head", "refiner", "projection", "adapters")


@dataclass(frozen=True)
class Choice:
    """A component by name, with every option settled.

    Args:
        name: The registered name, or `distribution:name`.
        options: Option -> value, defaults included.
        where: Option (or `name`) -> the flag or `file:line` where it was said, for messages.
        mixing: Of a dataset, how it is mixed with the others, where anything was said of it.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    where: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    mixing: Mixing | None = None

    def to_dict(self) -> dict[str, Any]:
        """As written in a recipe: the name beside the options."""
        mixing = {} if self.mixing is None else self.mixing.to_dict()
        return {"name": self.name, **mixing, **self.options}


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How the loop runs; steps are optimizer steps throughout.

    Args:
        batch_size: Samples a forward pass, at most 65,536.
        epochs: Passes over the training split; `max_steps` may end the run earlier.
        max_steps: Number of steps after which the run ends; null for no limit.
        lr: Peak learning rate of AdamW.
        lr_scale: Part (transformer, head, refiner, projection, adapters) -> factor of its learning
            rate; 1 for a part that is not named.
        weight_decay: Weight decay of AdamW; biases, norms, embeddings and codebooks do not decay.
        warmup_steps: Steps over which the learning rate rises from zero, whatever the schedule. At
            most a tenth of the run.
        lr_schedule: How the learning rate goes on after that: cosine falls to `min_lr` along half a
            cosine, linear along a line, constant stays at the peak.
        min_lr: Learning rate at the end of the run, where the schedule falls; at most `lr`.
        group_by_length: Whether steps are made of texts of similar length, so that less is padded.
        shuffle_block: Records of a stream that are shuffled among themselves; two such blocks are
            held in memory, undecoded.
        grad_accum: Batches whose gradients are added up before a step.
        grad_clip: Largest norm of the gradient; longer ones are scaled down before the step.
        ema_decay: Limit of the decay of an exponential moving average of what is trained; 0 for
            none. The average is what is evaluated and what `best` and `final` hold.
        ema_start: Step at which the average begins.
        ema_interval: Steps between two updates of the average.
        log_interval: Steps between two lines of the log.
        eval_interval: Steps between two evaluations on the validation split.
        eval_batches: Batches of the validation split that are looked at.
        samples: Samples that every evaluation makes of validation records, for each of a few tasks,
            and writes to `samples/`, as long as that takes no more than a small share of the time;
            0 for none.
        early_stopping: Evaluations in a row that may pass without a better one before the run ends;
            null or 0 for no such end.
        save_interval: Steps between two checkpoints.
        keep: Step checkpoints kept, the newest; best and latest stay whatever this says.
        precision: Number format of the forward pass; auto is bf16 on a GPU that has it, else fp32.
            fp16 scales the loss so that small gradients survive, and skips steps that overflow.
        gradient_checkpointing: Whether transformer and text decoder compute activations again in
            the backward pass in place of keeping them: less memory, more time, the same numbers.
        compile: Whether torch.compile makes kernels for the forward and backward pass. It takes
            minutes at the start, and again for batches of other shapes; results differ in their
            last bits.
        shard: Whether each of several processes keeps a part of the trained weights, of their
            gradients and of the optimizer's memory, in place of all of them.
        device: auto, cpu, cuda, cuda:1, mps; auto takes a GPU when there is one.
        workers: Processes that read samples ahead of the steps, so that reading takes no time of
            theirs; 0 for none. The run is the same to the last bit.
        seed: Start of every random number of the run.
        cache: Whether what frozen parts make of texts, pictures and sounds is kept on disk and
            used again, by this run and others.
        cache_dir: Folder of the cache; when null, that of OMNIFLOW_CACHE, else omniflow in the
            user's cache folder.
        cache_limit_gb: Gigabytes (10**9 bytes) that the cache may take; what has not been used for
            longest goes first.
        bad_records: Share of records that may be unreadable before the run ends, in [0, 1], 0 for
            none. Those that are skipped are listed in `skipped.jsonl`.
        trackers: Who is told the figures besides `metrics.jsonl`: tensorboard, trackio, wandb.
    """

    batch_size: int = 16
    epochs: int = 3
    max_steps: int | None = None
    lr: float = 1e-4
    lr_scale: Mapping[str, float] | None = None
    weight_decay: float = 0.01
    warmup_steps: int = 500
    lr_schedule: Literal["cosine", "linear", "constant"] = "cosine"
    min_lr: float = 0.0
    group_by_length: bool = False
    shuffle_block: int = 1000
    grad_accum: int = 1
    grad_clip: float = 1.0
    ema_decay: float = 0.0
    ema_start: int = 0
    ema_interval: int = 1
    log_interval: int = 100
    eval_interval: int = 1000
    eval_batches: int = 50
    samples: int = 4
    early_stopping: int | None = None
    save_interval: int = 5000
    keep: int = 3
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    gradient_checkpointing: bool = False
    compile: bool = False
    shard: bool = False
    device: str = "auto"
    workers: int = 0
    seed: int = 42
    cache: bool = True
    cache_dir: str | None = None
    cache_limit_gb: float = 20.0
    bad_records: float = 0.01
    trackers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        whole_from_one = (
            "batch_size", "epochs", "grad_accum", "log_interval", "eval_interval",
            "eval_batches", "save_interval", "keep", "ema_interval", "shuffle_block",
        )  # fmt: skip
        for name in whole_from_one:
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), expected="a whole number >= 1")
        if self.batch_size > LARGEST_BATCH:
            raise ConfigError(
                "batch_size",
                self.batch_size,
                expected=f"at most {LARGEST_BATCH} samples a forward pass; grad_accum makes a step "
                "of several",
            )
        if self.max_steps is not None and self.max_steps < 1:
            raise ConfigError("max_steps", self.max_steps, expected="a whole number >= 1, or null")
        if self.early_stopping is not None and self.early_stopping < 0:
            raise ConfigError(
                "early_stopping", self.early_stopping, expected="a whole number >= 0, or null"
            )
        if not 0 < self.lr < 1:
            raise ConfigError("lr", self.lr, expected="a number in (0, 1)")
        if not 0 <= self.min_lr <= self.lr:
            raise ConfigError("min_lr", self.min_lr, expected=f"a number in [0, lr], lr={self.lr}")
        for part, scale in (self.lr_scale or {}).items():
            if part not in TRAINED_PARTS:
                raise ConfigError(
                    "lr_scale",
                    {part: scale},
                    expected=f"some of {', '.join(TRAINED_PARTS)}",
                    nearest=closest(part, TRAINED_PARTS),
                )
            if not 0 < scale < float("inf"):
                raise ConfigError("lr_scale", {part: scale}, expected="numbers above 0")
        if not 0 < self.grad_clip < float("inf"):
            raise ConfigError("grad_clip", self.grad_clip, expected="a number above 0")
        if not 0 <= self.bad_records <= 1:
            raise ConfigError("bad_records", self.bad_records, expected="a number in [0, 1]")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError("ema_decay", self.ema_decay, expected="a number in [0, 1)")
        if not 0 < self.cache_limit_gb < float("inf"):
            raise ConfigError("cache_limit_gb", self.cache_limit_gb, expected="a number above 0")
        if self.workers < 0:
            raise ConfigError("workers", self.workers, expected="a whole number >= 0")
        if self.samples < 0:
            raise ConfigError("samples", self.samples, expected="a whole number >= 0")
        for name in ("weight_decay", "warmup_steps", "ema_start"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(name, getattr(self, name), expected="a number >= 0")
        if not 0 <= self.seed < 2**63:
            raise ConfigError("seed", self.seed, expected="a whole number in [0, 2**63)")
        for name in self.trackers:
            if name not in TRACKERS or self.trackers.count(name) > 1:
                raise ConfigError(
                    "trackers",
                    name,
                    expected=f"each of {', '.join(TRACKERS)} at most once",
                    nearest=[near for near in closest(name, TRACKERS) if near != name],
                )


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run: components with all their options, and the training loop's."""

    backbone: Choice
    head: Choice
    refiner: Choice
    objective: Choice
    encoder: tuple[Choice, ...]
    dataset: tuple[Choice, ...]
    training: TrainingOptions

    def to_dict(self) -> dict[str, Any]:
        """Plain data, in the order of the file."""
        return {
            "format": FORMAT,
            **{name: getattr(self, name).to_dict() for name in SINGLE_SECTIONS},
            **{
                name: [choice.to_dict() for choice in getattr(self, name)] for name in LIST_SECTIONS
            },
            "training": asdict(self.training),
        }

    def to_yaml(self) -> str:
        """The text of a recipe file; read back, it gives this recipe."""
        return dump_yaml(self.to_dict())


def dump_yaml(content: Any) -> str:
    """Plain data as the text of a recipe file, its keys in their order."""
    text: str = yaml.dump(
        _plain(content),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
    )
    return text


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with the library, by name."""
    folder = Path(__file__).parent / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


class _Dumper(yaml.SafeDumper):
    """Writes nothing but plain data; text always reads back as it was."""


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # PyYAML 6.0 takes these for ends of lines unless they are escaped.
    has_line_separator = not {"\x85", "\u2028", "\u2029"}.isdisjoint(text)
    style = '"' if has_line_separator else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text_node)


def _plain(value: Any) -> Any:
    """Tuples and mappings of any class as the lists and dicts that YAML knows."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value
