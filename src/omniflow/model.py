"""The assembled model: a backbone, its encoders, and the parts of it that train."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from omniflow.cache.frozen import FrozenWork
from omniflow.checkpoints import MODEL_FORMAT, content_hash, write_tensors
from omniflow.errors import CheckpointError, OmniFlowError, PluginError, UsageError
from omniflow.files import write_json, write_text, writing_folder
from omniflow.hub.card import local_card
from omniflow.hub.push import push
from omniflow.hub.staging import CARD
from omniflow.interfaces import (
    Backbone,
    Encoder,
    Head,
    HeadOutput,
    Refiner,
    Sample,
    Streams,
    TextFeatures,
)
from omniflow.recipe import Choice
from omniflow.registry import Component
from omniflow.sampling.generate import Generated, generate
from omniflow.tasks import POOLED_ORDER, Task
from omniflow.version import __version__

if TYPE_CHECKING:
    from PIL.Image import Image

    from omniflow.hub.record import Pushed
    from omniflow.interfaces import Audio
    from omniflow.sampling.noise import NoiseSource
    from omniflow.sampling.sampler import Step


@dataclass(frozen=True)
class ModelParts:
    """The components that a model is made of, and where each came from."""

    backbone: Choice
    head: Choice
    refiner: Choice
    encoder: tuple[Choice, ...]
    components: tuple[Component, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for config.json."""
        return {
            "backbone": self.backbone.to_dict(),
            "head": self.head.to_dict(),
            "refiner": self.refiner.to_dict(),
            "encoder": [choice.to_dict() for choice in self.encoder],
            "components": [
                {
                    "kind": component.kind,
                    "name": component.name,
                    "distribution": component.origin.distribution,
                    "version": component.origin.version,
                }
                for component in self.components
            ],
        }


@dataclass(frozen=True)
class TextPrediction:
    """What head and refiner make of a noisy text.

    Args:
        latents: Predicted clean text latents [batch, tokens, latent_dim].
        losses: The head's auxiliary losses by name.
        codes: The head's code indices, if it has a codebook.
    """

    latents: Tensor
    losses: Mapping[str, Tensor]
    codes: Tensor | None


@dataclass(frozen=True)
class ModelPrediction:
    """What the model says about each stream; None for one that was not passed or not asked for.

    Args:
        image: Predicted image velocity, noise minus data, of the shape of the image latents.
        text: What head and refiner say about the text.
        audio: Predicted audio velocity, of the shape of the audio latents.
    """

    image: Tensor | None
    text: TextPrediction | None
    audio: Tensor | None


class OmniFlowModel(nn.Module):
    """Backbone, encoders, head and refiner as one module; made by `omniflow.build`.

    Args:
        backbone: The generative model; frozen, but for its transformer where that is trained.
        head: Text features to latents.
        refiner: Latents to latents.
        encoders: Frozen encoders that fill the backbone's pooled slot.
        features: Which text features the head reads, `hidden` or `x0`.
        head_dim: Width that head and refiner work in; a trainable projection follows when it is
            not the backbone's latent width.
        parts: The components by name, remembered in `save_pretrained`.
        trains_backbone: Whether the backbone's transformer is trained and saved along. Its own last
            text projection is not: the head stands for it.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        head: Head,
        refiner: Refiner,
        encoders: Sequence[Encoder],
        features: str,
        head_dim: int,
        parts: ModelParts,
        trains_backbone: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.encoders = nn.ModuleList(encoders)
        self.head = head
        self.refiner = refiner
        self.projection: nn.Module = (
            nn.Identity()
            if head_dim == backbone.latent_dim
            else nn.Linear(head_dim, backbone.latent_dim)
        )
        self.adapters = nn.ModuleList(
            nn.Identity()
            if encoder.width == backbone.pooled_dim
            else _silent_adapter(encoder, backbone)
            for encoder in encoders
        )
        self.features = features
        self.head_dim = head_dim
        self.parts = parts
        self.trains_backbone = trains_backbone
        self.freeze()
        self._encoder_of = _encoder_positions(encoders)
        choices = (parts.backbone, *parts.encoder)
        self.frozen = FrozenWork(
            backbone,
            encoders,
            [part for part in parts.components if part.kind in ("backbone", "encoder")],
            [str(choice.options.get("path", choice.name)) for choice in choices],
        )

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return next(self.backbone.parameters()).device

    def freeze(self) -> None:
        """Say which parameters have a gradient; again after weights have been read."""
        self.backbone.requires_grad_(False)
        self.encoders.requires_grad_(False)
        if self.trains_backbone:
            # Steps smaller than a half-precision digit would be lost.
            self.backbone.transformer.float().requires_grad_(True)
            self.backbone.text_projection.requires_grad_(False)

    def trained_modules(self) -> dict[str, nn.Module]:
        """The parts that training changes, by the prefix that they have in `model.safetensors`."""
        transformer = {"transformer": self.backbone.transformer} if self.trains_backbone else {}
        return {
            **transformer,
            "head": self.head,
            "refiner": self.refiner,
            "projection": self.projection,
            "adapters": self.adapters,
        }

    def named_trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters that an optimizer gets, by the name that they are saved under."""
        for prefix, module in self.trained_modules().items():
            for name, parameter in module.named_parameters():
                if parameter.requires_grad:
                    yield f"{prefix}.{name}", parameter

    def trainable_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that an optimizer gets."""
        return (parameter for _, parameter in self.named_trainable())

    def trained_state(self) -> dict[str, Tensor]:
        """Parameters and buffers of the trained parts, by name.

        The transformer's buffers, tables of positions, come with the backbone.
        """
        return {
            f"{prefix}.{name}": tensor.detach()
            for prefix, module in self.trained_modules().items()
            for name, tensor in (
                module.named_parameters()
                if prefix == "transformer"
                else module.state_dict().items()
            )
        }

    def check_trained_state(self, state: Mapping[str, Tensor], *, where: str) -> None:
        """Refuse tensors that are not those of this model; needs no weight of the backbone.

        Raises:
            CheckpointError: If names or shapes differ.
        """
        expected = self.trained_state()
        missing = sorted(expected.keys() - state.keys())
        unexpected = sorted(state.keys() - expected.keys())
        misshapen = [
            f"{name} is {list(state[name].shape)}, expected {list(expected[name].shape)}"
            for name in expected.keys() & state.keys()
            if state[name].shape != expected[name].shape
        ]
        if missing or unexpected or misshapen:
            raise CheckpointError(
                "the tensors are not those of this model",
                where=where,
                notes=[
                    *(f"missing: {name}" for name in missing[:5]),
                    *(f"unexpected: {name}" for name in unexpected[:5]),
                    *sorted(misshapen)[:5],
                ],
            )

    def load_trained_state(self, state: Mapping[str, Tensor], *, where: str) -> None:
        """Put trained tensors back, the backbone's weights having been read.

        Raises:
            CheckpointError: If names or shapes are not those of this model.
        """
        self.check_trained_state(state, where=where)
        with torch.no_grad():
            for name, tensor in self.trained_state().items():
                tensor.copy_(state[name])

    def forward(
        self, text_latents: Tensor, timesteps: Tensor, pooled: Tensor | None = None
    ) -> TextPrediction:
        """Predict the clean text latents from a text stream alone.

        Args:
            text_latents: Noisy text latents [batch, tokens, latent_dim].
            timesteps: Noise level of the text times 1000, [batch].
            pooled: Pooled condition [batch, pooled_dim]; zeros when None.
        """
        streams, levels = Streams(text=text_latents), Streams(text=timesteps)
        text = self.predict(streams, levels, pooled).text
        if text is None:
            raise PluginError(f"backbone {self.parts.backbone.name} predicts no text")
        return text

    def predict(
        self,
        streams: Streams,
        timesteps: Streams,
        pooled: Tensor | None = None,
        *,
        split_cond: bool = False,
        needs_text: bool = True,
    ) -> ModelPrediction:
        """Run the model on the streams that are passed: transformer, and for text head and refiner.

        Args:
            streams: Noisy or clean latents, see `Backbone.predict`.
            timesteps: Noise level times 1000 of each stream, [batch] or [1].
            pooled: Pooled condition [batch, pooled_dim]; zeros when None.
            split_cond: Condition each stream on its own timestep only.
            needs_text: Whether the text stream is predicted at all: the backbone's part in it is
                saved as well as head and refiner.
        """
        if pooled is None:
            first = streams.present()[0]
            pooled = first.new_zeros(len(first), self.backbone.pooled_dim)
        # A frozen transformer needs a graph only when an adapter in front of it is trained.
        needs_graph = torch.is_grad_enabled() and (self.trains_backbone or pooled.requires_grad)
        with torch.set_grad_enabled(needs_graph):
            predicted = self.backbone.predict(
                streams, timesteps, pooled, split_cond=split_cond, predict_text=needs_text
            )
        text = None
        if predicted.text is not None and timesteps.text is not None:
            text = self.predict_text(predicted.text, timesteps.text)
        return ModelPrediction(predicted.image, text, predicted.audio)

    def predict_text(self, features: TextFeatures, timesteps: Tensor) -> TextPrediction:
        """What head and refiner make of the transformer's features.

        Args:
            features: Features of text tokens, each [batch, tokens, ...].
            timesteps: Noise level of the text times 1000, [batch].
        """
        output = self.head.predict(getattr(features, self.features), timesteps)
        if not isinstance(output, HeadOutput):
            raise PluginError(
                f"head {self.parts.head.name} returns a {type(output).__name__}",
                expected="a HeadOutput",
            )
        expected = (*features.hidden.shape[:2], self.head_dim)
        dtype = features.hidden.dtype
        _check_latents(output.latents, expected, dtype, f"head {self.parts.head.name}")
        refined = self.refiner(output.latents)
        _check_latents(refined, expected, dtype, f"refiner {self.parts.refiner.name}")
        latents = self.projection(refined)
        return TextPrediction(latents, output.losses, output.codes)

    def pooled(self, samples: Sequence[Sample], given: Sequence[str]) -> Tensor | None:
        """The pooled condition [batch, pooled_dim] from the given modalities.

        The slot holds one modality: text if given, else image, else audio, as far as an encoder
        was chosen for it. None when no encoder covers what is given.
        """
        for modality in POOLED_ORDER:
            if modality in given and self.has_encoder(modality):
                return self.embed(samples, modality)
        return None

    def has_encoder(self, modality: str) -> bool:
        """Whether an encoder was chosen for a modality, in place of the backbone's own."""
        return modality in self._encoder_of

    def embed(self, samples: Sequence[Sample], modality: str) -> Tensor | None:
        """What the encoder chosen for a modality makes of it, adapted [batch, pooled_dim]."""
        position = self._encoder_of.get(modality)
        if position is None:
            return None
        adapted: Tensor = self.adapters[position](
            self.frozen.embedding(position, samples, modality)
        )
        return adapted

    def generate(
        self,
        task: str | Task,
        *,
        prompt: str | Sequence[str] | None = None,
        image: Image | Sequence[Image] | None = None,
        audio: Audio | Sequence[Audio] | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        seed: int = 0,
        seeds: Sequence[int] | None = None,
        count: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        on_step: Callable[[Step], None] | None = None,
        noise: NoiseSource | None = None,
        decode: bool = True,
        **settings: Any,
    ) -> Generated:
        """Make texts, pictures or sounds from any of them, in one batch.

        Inputs are single values, which stand for every sample, or lists with one a sample. A
        sample depends on its own inputs and seed alone, whatever else is in the batch.

        Args:
            task: What is given and what is made: `t2i`, `ia2t`, `t2ia`, `2i`, ...
            prompt: Given texts.
            image: Given pictures.
            audio: Given sounds.
            negative_prompt: What guidance leads away from; takes guidance mode `old`.
            seed: Sample i is drawn from seed + i.
            seeds: One seed a sample, in place of `seed`.
            count: How many samples of single inputs, or of nothing.
            progress: Called with (steps done, steps) after every step.
            on_step: Sees the latents after every step.
            noise: Where random draws come from, in place of seeds.
            decode: Whether latents are decoded; without, there are latents alone.
            **settings: Fields of `omniflow.sampling.settings.SamplingSettings`; None, or one left
                out, is as the backbone suggests.

        Raises:
            UsageError: If an input is missing, superfluous or unusable, or the backbone lacks a
                part that the task needs.
            ConfigError: If the task is none, or a setting is out of its range.
        """
        was_training = self.training
        self.eval()
        try:
            return generate(
                self,
                Task.parse(task) if isinstance(task, str) else task,
                {"text": prompt, "image": image, "audio": audio},
                negative_prompt=negative_prompt,
                seed=seed,
                seeds=seeds,
                count=count,
                progress=progress,
                on_step=on_step,
                noise=noise,
                decode=decode,
                settings=settings,
            )
        finally:
            self.train(was_training)

    def train(self, mode: bool = True) -> OmniFlowModel:
        """Switch the trained parts; the frozen ones stay in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        self.encoders.eval()
        return self

    def summary(self) -> dict[str, Any]:
        """Parameter counts by part, what is trained, and what had to be adapted."""
        counts = {
            name: sum(parameter.numel() for parameter in module.parameters())
            for name, module in {"backbone": self.backbone, **self.trained_modules()}.items()
        }
        counts["backbone"] -= counts.get("transformer", 0)
        notes = []
        if not isinstance(self.projection, nn.Identity):
            notes.append(
                f"a trainable projection takes latents to width {self.backbone.latent_dim}"
            )
        for choice, encoder, adapter in zip(
            self.parts.encoder, self.encoders, self.adapters, strict=True
        ):
            if not isinstance(adapter, nn.Identity):
                notes.append(
                    f"encoder {choice.name} ({encoder.width} wide) gets a trainable adapter "
                    f"to {self.backbone.pooled_dim}"
                )
        return {
            "parameters": counts,
            "trainable": sum(parameter.numel() for parameter in self.trainable_parameters()),
            "notes": notes,
        }

    def save_pretrained(
        self, folder: str | Path, *, state: Mapping[str, Tensor] | None = None
    ) -> None:
        """Write `model.safetensors` (trained parts only), `config.json` and a model card.

        The frozen backbone is a reference: id, revision and content hash. The folder is replaced
        as a whole, or left as it was.

        Args:
            folder: Where to.
            state: What `trained_state` gives, put together by the caller where it lies in parts.

        Raises:
            UsageError: If the folder holds anything but a saved model, or is the current one.
        """
        target = Path(folder)
        if not str(folder) or target.resolve() in (Path.cwd(), *Path.cwd().parents):
            raise UsageError(
                f"a model cannot take the place of {str(folder)!r}", expected="a folder of its own"
            )
        is_ours = (target / "config.json").is_file() and (target / "model.safetensors").is_file()
        if target.is_dir() and any(target.iterdir()) and not is_ours:
            raise UsageError(
                "the folder holds other things than a model",
                where=str(folder),
                expected="a new or empty folder, or a saved model to replace",
            )
        with writing_folder(target) as temporary:
            self.write_files(temporary, state)

    def write_files(self, folder: Path, state: Mapping[str, Tensor] | None = None) -> None:
        """Write the files of `save_pretrained` into a folder that somebody else makes atomic."""
        tensors = self.trained_state() if state is None else state
        write_tensors(folder / "model.safetensors", tensors)
        sizes = self.summary()
        config = {
            "format": MODEL_FORMAT,
            "omniflow_version": __version__,
            **self.parts.to_dict(),
            "trains_backbone": self.trains_backbone,
            "parameters": sizes["parameters"],
            "trainable": sizes["trainable"],
            "backbone_identity": self.backbone.identity(),
            "weights_hash": content_hash(folder / "model.safetensors"),
        }
        write_json(folder / "config.json", config)
        write_text(folder / CARD, local_card(config))

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
        license: str | None = None,
        token: str | None = None,
    ) -> Pushed:
        """Publish the model, with a card, on the Hugging Face Hub, where `omniflow.load` finds it.

        Args:
            repo_id: `owner/name`, made if there is none; or a name among one's own.
            private: Whether only its owner may see it, where it is made.
            revision: The branch, made if there is none; None for the main one.
            commit_message: First line of the commit.
            license: For the card, as the Hub spells it (`apache-2.0`).
            token: The token; None for that of `hf auth login` or HF_TOKEN.

        Returns:
            The commit, the page, and what is there.

        Raises:
            UsageError: If the Hub refuses it.
            PushError: If the Hub is in trouble or cannot be reached.
        """
        with TemporaryDirectory(prefix="omniflow-push-") as folder:
            place = Path(folder) / "model"
            self.save_pretrained(place)
            return push(
                place,
                repo_id,
                private=private,
                revision=revision,
                message=commit_message,
                licence=license,
                token=token,
                again="the model is as it was; push it again",
            )


def _check_latents(
    latents: Tensor, expected: tuple[int, ...], features: torch.dtype, owner: str
) -> None:
    """A component whose latents have another shape would be broadcast without a word."""
    # Narrower ones are autocast's doing.
    if not latents.is_floating_point() or latents.dtype == torch.float64 != features:
        raise OmniFlowError(f"{owner} returns latents of {latents.dtype}", expected=f"{features}")
    if tuple(latents.shape) != expected:
        raise OmniFlowError(
            f"{owner} returns latents of shape {list(latents.shape)}", expected=f"{list(expected)}"
        )


def _silent_adapter(encoder: Encoder, backbone: Backbone) -> nn.Linear:
    """A linear map that starts at zero, so that training begins from the unconditioned model."""
    adapter = nn.Linear(encoder.width, backbone.pooled_dim)
    nn.init.zeros_(adapter.weight)
    nn.init.zeros_(adapter.bias)
    return adapter


def _encoder_positions(encoders: Sequence[Encoder]) -> dict[str, int]:
    positions: dict[str, int] = {}
    for position, encoder in enumerate(encoders):
        for modality in encoder.modalities:
            if modality in positions:
                raise UsageError(
                    f"two encoders embed {modality}",
                    expected="one encoder a modality (clip takes modality=text or modality=image)",
                )
            positions[modality] = position
    return positions
