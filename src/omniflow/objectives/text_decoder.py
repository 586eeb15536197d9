"""Text-decoder objective: head and refiner learn to predict clean text latents.

The loss terms are those of the research scripts with their faults corrected: the cross entropy is
shifted by one token and ignores padding, the refiner sits before the decoder and is trained by it,
and perplexity is taken over tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from omniflow.draws import Draws
from omniflow.errors import ConfigError, DataError
from omniflow.interfaces import HEAD_LOSSES, Batch, Losses, Objective, Sample
from omniflow.models.flow_scheduler import add_noise
from omniflow.objectives.loss_names import check_head_losses, check_weight_names
from omniflow.objectives.noise_coupling import Coupling, coupled
from omniflow.objectives.spread_levels import spread_levels
from omniflow.objectives.token_scores import count_targets, cross_entropy, score_tokens
from omniflow.tasks import Task

if TYPE_CHECKING:
    from omniflow.interfaces.backbone import TokenBatch
    from omniflow.model import OmniFlowModel, TextPrediction

#: Weights of the loss terms unless the recipe says otherwise; a term not named here weighs 1.
DEFAULT_WEIGHTS = {"ce": 1.0, "mse": 0.1, "contrastive": 0.0, "vq": 1.0}


@dataclass(frozen=True)
class TextBatch:
    """Samples ready for the device.

    Args:
        samples: The samples themselves, for encoders.
        tokens: Their texts as ids.
        draws: Their random numbers.
    """

    samples: Sequence[Sample]
    tokens: TokenBatch
    draws: Draws


class TextDecoderObjective(Objective):
    """Predict clean text latents, compared with the true ones and, decoded, with the words.

    Args:
        tasks: What is given and made, one drawn per batch; all of them must make text.
        levels: Distribution of the noise level of a given text in (0, 1): uniform, or the sigmoid
            of a standard normal.
        text_coupling: Which noise meets which token of the text: `independent` or, as it suits a
            transformer that was trained so, the nearest (`matched`).
        best_by: Which validation figure chooses the best checkpoint: the perplexity over noise
            levels spread evenly over (0, 1), or that of the clean text alone.
        max_length: Longest text in tokens, end included; longer ones are cut and counted.
        weights: Weight of each loss by its name: ce, mse, contrastive, and whatever the head
            returns (vq).
        contrastive_temperature: Temperature of the contrastive term.

    Raises:
        ConfigError: If a task does not make text, or a number is out of its range.
    """

    def __init__(
        self,
        *,
        tasks: list[str] | None = None,
        levels: Literal["uniform", "logit-normal"] = "uniform",
        text_coupling: Coupling = "independent",
        best_by: Literal["ppl", "clean_ppl"] = "ppl",
        max_length: int = 256,
        weights: dict[str, float] | None = None,
        contrastive_temperature: float = 0.07,
    ) -> None:
        self.tasks = [_text_task(name) for name in tasks or ["t2t"]]
        if max_length < 2:
            raise ConfigError("max_length", max_length, expected="a whole number >= 2")
        if not contrastive_temperature > 0:
            raise ConfigError(
                "contrastive_temperature", contrastive_temperature, expected="a number above 0"
            )
        self.weights = {**DEFAULT_WEIGHTS, **(weights or {})}
        negative = next(
            (name for name, weight in self.weights.items() if not 0 <= weight < math.inf), None
        )
        if negative is not None:
            raise ConfigError(
                f"weights.{negative}", self.weights[negative], expected="a number >= 0"
            )
        self.modalities = frozenset({"text"}.union(*(task.given for task in self.tasks)))
        self.levels = levels
        self.text_coupling = text_coupling
        self.best_by = best_by
        self.max_length = max_length
        self.contrastive_temperature = contrastive_temperature

    def check(self, model: OmniFlowModel) -> None:
        """Refuse a weight that no loss goes by.

        Raises:
            ConfigError: If there is one.
        """
        check_weight_names(self.weights, DEFAULT_WEIGHTS, model.head.loss_names)

    def task_weights(self) -> Mapping[Task, float]:
        """The tasks that are drawn, equally often."""
        return dict.fromkeys(self.tasks, 1.0)

    def collate(self, model: OmniFlowModel, samples: Sequence[Sample], draws: Draws) -> Batch:
        """Tokenise the texts of the samples.

        Raises:
            DataError: If a sample has no text.
        """
        texts = [sample.text for sample in samples]
        if any(text is None for text in texts):
            bare = next(sample.id for sample in samples if sample.text is None)
            raise DataError("the record has no text", where=bare, expected="text for text-decoder")
        tokens = model.backbone.tokenise(cast("list[str]", texts), max_length=self.max_length)
        return TextBatch(samples, tokens, draws)

    def texts_cut(self, batch: Batch) -> int:
        """How many texts of the batch have been cut at `max_length`."""
        return cast(TextBatch, batch).tokens.cut

    def encode_ahead(self, model: OmniFlowModel, samples: Sequence[Sample]) -> None:
        """Ask for the latents of the texts, and for what an encoder makes of them."""
        texts = [sample.text or "" for sample in samples]
        model.frozen.text_latents(model.backbone.tokenise(texts, max_length=self.max_length))
        model.pooled(samples, ("text",))

    def losses(self, model: OmniFlowModel, batch: Batch) -> Losses:
        """Cross entropy, latent error, contrastive term and the head's own losses."""
        batch = cast(TextBatch, batch)
        clean = self._clean_latents(model, batch)
        levels = self._levels(batch.draws.fractions("level")).to(clean.device)
        prediction = self._predict(model, batch, clean, levels)
        terms = {
            "ce": cross_entropy(model.backbone, prediction.latents, batch.tokens),
            "mse": F.mse_loss(prediction.latents.float(), clean.float()),
        }
        if self.weights["contrastive"] > 0:
            terms["contrastive"] = contrastive_loss(
                prediction.latents, clean, self.contrastive_temperature
            )
        check_head_losses(model.parts.head.name, terms, prediction.losses)
        check_weight_names(self.weights, DEFAULT_WEIGHTS, prediction.losses)
        terms.update(prediction.losses)
        return Losses(terms, self.weights)

    def counts(self, batch: Batch) -> Mapping[str, float]:
        """Tokens for the cross entropy, samples for the rest.

        The contrastive term tells apart the texts of one batch, so it is another one in parts.
        """
        batch = cast(TextBatch, batch)
        samples = float(len(batch.samples))
        return {
            "ce": count_targets(batch.tokens),
            **dict.fromkeys(("mse", "contrastive", HEAD_LOSSES), samples),
        }

    def measure(self, model: OmniFlowModel, batch: Batch) -> Mapping[str, Tensor]:
        """Sums over one batch, at spread noise levels and, as `clean_...`, at level 0.

        Tokens, their negative log-likelihood, hits, squared error of the latents.
        """
        batch = cast(TextBatch, batch)
        clean = self._clean_latents(model, batch)
        spread = spread_levels(batch.samples).to(clean.device)
        sums: dict[str, Tensor] = {}
        for prefix, levels in (("", spread), ("clean_", torch.zeros_like(spread))):
            prediction = self._predict(model, batch, clean, levels)
            scores = score_tokens(model.backbone, prediction.latents, batch.tokens)
            error = F.mse_loss(prediction.latents.float(), clean.float(), reduction="sum")
            sums |= {
                f"{prefix}tokens": scores.count.sum(),
                f"{prefix}nll": scores.nll.sum(),
                f"{prefix}correct": scores.correct.sum(),
                f"{prefix}squared_error": error,
                f"{prefix}elements": torch.tensor(clean.numel(), device=clean.device),
            }
        return sums

    def summarise(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Perplexity and accuracy over tokens, mean squared error over latent values."""
        figures: dict[str, float] = {}
        for prefix in ("", "clean_"):
            nll = sums[f"{prefix}nll"] / sums[f"{prefix}tokens"]
            figures |= {
                f"{prefix}ppl": float(torch.exp(torch.tensor(nll, dtype=torch.float64))),
                f"{prefix}accuracy": sums[f"{prefix}correct"] / sums[f"{prefix}tokens"],
                f"{prefix}mse": sums[f"{prefix}squared_error"] / sums[f"{prefix}elements"],
            }
        return figures

    def _clean_latents(self, model: OmniFlowModel, batch: TextBatch) -> Tensor:
        return model.frozen.text_latents(batch.tokens)

    def _levels(self, fractions: Tensor) -> Tensor:
        """The noise levels in (0, 1) below which these fractions of all lie, float32 [batch]."""
        if self.levels == "logit-normal":
            fractions = torch.sigmoid(torch.special.ndtri(fractions))
        return fractions.float().clamp(1e-4, 1 - 1e-4)

    def _predict(
        self, model: OmniFlowModel, batch: TextBatch, clean: Tensor, levels: Tensor
    ) -> TextPrediction:
        noise = coupled(batch.draws.normal("noise", *clean.shape[1:]), clean, self.text_coupling)
        noisy = add_noise(clean, noise, levels)
        pooled = model.pooled(batch.samples, ("text",))
        prediction: TextPrediction = model(noisy, levels * 1000, pooled)
        return prediction


def contrastive_loss(predicted: Tensor, true: Tensor, temperature: float) -> Tensor:
    """Tell each text's latents from the other texts' of the batch (InfoNCE, predicted to true).

    Token means are L2-normalised; similarities over `temperature` are scored by cross entropy with
    the text's own latents as the target.

    Args:
        predicted: Predicted latents [batch, tokens, latent_dim].
        true: True latents of the same shape.
        temperature: Divides the cosine similarities.
    """
    predicted_mean = F.normalize(predicted.float().mean(1), dim=-1)
    true_mean = F.normalize(true.float().mean(1), dim=-1)
    similarity = predicted_mean @ true_mean.T / temperature
    return F.cross_entropy(similarity, torch.arange(len(similarity), device=similarity.device))


def _text_task(name: str) -> Task:
    task = Task.parse(name)
    if task.made != ("text",):
        raise ConfigError("tasks", name, expected="tasks that make text, such as t2t")
    if task.given != ("text",):
        raise ConfigError("tasks", name, expected="t2t: this release trains the text stream only")
    return task
