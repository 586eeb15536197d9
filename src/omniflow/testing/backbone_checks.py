"""The contract of a backbone."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from omniflow.interfaces import Backbone, TextFeatures, TokenBatch
from omniflow.tasks import POOLED_ORDER
from omniflow.testing.common_checks import CHECKS as COMMON
from omniflow.testing.contract import named
from omniflow.testing.small_run import SmallRun, small_run, trains_in_a_model
from omniflow.testing.subject import Subject

#: Of no length, short, and with letters outside ASCII.
TEXTS = ("", "a red circle", "ein blaues Quadrat über einem Kreis: 圆")


def sizes_are_known_before_weights(subject: Subject) -> None:
    """Streams, widths and numbers of tokens, told by a new instance."""
    backbone = cast(Backbone, subject.construct(seed=0))
    subject.expect(
        bool(backbone.modalities) and set(backbone.modalities) <= set(POOLED_ORDER),
        f"its modalities are {backbone.modalities!r}",
        expected=f"some of {', '.join(POOLED_ORDER)}",
    )
    for name in ("latent_dim", "latent_tokens", "pooled_dim"):
        value = getattr(backbone, name)
        subject.expect(
            isinstance(value, int) and value > 0, f"its {name} is {value!r}", expected="above 0"
        )
    widths = (backbone.text_projection.in_features, backbone.text_projection.out_features)
    told = tuple(backbone.feature_dims.get(name) for name in ("hidden", "x0"))
    subject.expect(
        told == widths and widths[1] == backbone.latent_dim,
        f"feature_dims are {dict(backbone.feature_dims)}, its text_projection maps {widths[0]} "
        f"to {widths[1]}",
        expected="hidden and x0, the widths of what text_projection reads and writes",
    )


def identity_is_the_same_for_the_same_weights(subject: Subject) -> None:
    """Id, revision and content hash, as texts: how a saved model finds it again."""
    first = _backbone(subject).identity()
    subject.expect(
        {"id", "revision", "hash"} <= first.keys()
        and all(isinstance(value, str) for value in first.values())
        and bool(first["hash"]),
        f"its identity is {first!r}",
        expected="id, revision and hash, as texts",
    )
    again = cast(Backbone, subject.construct(seed=1))
    again.load_weights()
    subject.expect(again.identity() == first, "another instance has another identity")
    subject.expect(
        torch.equal(_encode(again, TEXTS), _encode(_backbone(subject), TEXTS)),
        "another instance encodes texts differently",
        expected="weights that are read, whatever the random state",
    )


def texts_become_ids(subject: Subject) -> None:
    """Rows of one length, padding at the right and without labels, long texts cut and counted."""
    tokens = _tokens(subject)
    subject.expect(
        tokens.is_empty.tolist() == [text == "" for text in TEXTS], "is_empty is not right"
    )
    subject.expect(
        tokens.input_ids.shape == tokens.labels.shape and len(tokens.input_ids) == len(TEXTS),
        f"input_ids have shape {list(tokens.input_ids.shape)}, labels {list(tokens.labels.shape)}",
    )
    kept = tokens.labels != -100
    subject.expect(
        torch.equal(tokens.labels[kept], tokens.input_ids[kept]), "labels are not input_ids"
    )
    subject.expect(
        bool((kept.int().diff(dim=1) <= 0).all()), "padding is not at the right", expected="-100"
    )
    cut = _backbone(subject).tokenise(["word " * 200], max_length=8)
    subject.expect(
        cut.cut == 1 and cut.input_ids.shape[1] <= 8,
        f"of 200 words with max_length=8, {cut.input_ids.shape[1]} tokens are left, {cut.cut} cut",
        expected="8 tokens at most, and one text cut",
    )


def text_latents_have_their_shape(subject: Subject) -> None:
    """[batch, latent_tokens, latent_dim], finite, each of its own text."""
    backbone = _backbone(subject)
    latents = _encode(backbone, TEXTS)
    expected = (len(TEXTS), backbone.latent_tokens, backbone.latent_dim)
    subject.expect(
        tuple(latents.shape) == expected,
        f"text latents have shape {list(latents.shape)}",
        expected=str(list(expected)),
    )
    subject.expect(bool(latents.isfinite().all()), "text latents are not finite")
    subject.expect(not torch.equal(latents[1], latents[2]), "two texts have the same latents")


def text_features_have_their_shape(subject: Subject) -> None:
    """What heads read, for any noise level and with or without a condition."""
    backbone = _backbone(subject)
    clean = _encode(backbone, TEXTS)
    levels = torch.linspace(0, 1000, len(TEXTS))
    pooled = torch.ones(len(TEXTS), backbone.pooled_dim)
    with torch.no_grad():
        for features in (
            backbone.text_features(clean, levels),
            backbone.text_features(clean, levels, pooled),
        ):
            _expect_features(subject, features)
        features = backbone.text_features(clean, levels)
        projected = backbone.text_projection(features.hidden)
    subject.expect(
        torch.allclose(projected, features.x0, rtol=1e-3, atol=1e-4),
        "x0 is not what text_projection makes of hidden",
    )


def words_cost_what_the_logits_say(subject: Subject) -> None:
    """`token_costs` are those of `decode_logits`, through which gradients reach the latents."""
    backbone = _backbone(subject)
    tokens = _tokens(subject)
    latents = _encode(backbone, TEXTS).requires_grad_()
    logits = backbone.decode_logits(latents, tokens.input_ids)
    subject.expect(
        logits.ndim == 3 and logits.shape[:2] == tokens.input_ids.shape,
        f"logits have shape {list(logits.shape)}",
        expected="[batch, tokens, vocabulary]",
    )
    width = tokens.input_ids.shape[1]
    rows, places = (tokens.labels[:, 1:] != -100).nonzero(as_tuple=True)
    positions, targets = rows * width + places, tokens.input_ids[rows, places + 1]
    costs, _ = backbone.token_costs(latents, tokens.input_ids, positions, targets)
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1)[positions].float(), targets, reduction="none"
    )
    subject.expect(
        torch.allclose(costs, expected, rtol=1e-3, atol=1e-3), "token_costs are not those of logits"
    )
    torch.autograd.backward(costs.sum())
    subject.expect(
        latents.grad is not None and bool(latents.grad.any()),
        "no gradient comes from words to latents",
        expected="a decoder that can be differentiated: heads are trained through it",
    )


def latents_become_texts(subject: Subject) -> None:
    """Greedy decoding: one text a sample, the same each time."""
    backbone = _backbone(subject)
    latents = _encode(backbone, TEXTS)
    with torch.no_grad():
        first, second = (backbone.generate_text(latents, max_new_tokens=6) for _ in range(2))
    subject.expect(
        len(first) == len(TEXTS) and all(isinstance(text, str) for text in first),
        f"it generates {first!r}",
        expected="one text a sample",
    )
    subject.expect(first == second, "greedy decoding is random")


def pictures_and_sounds_have_latents(subject: Subject) -> None:
    """Of the shape of `latent_shape`, and back; for backbones with such streams."""
    backbone = _backbone(subject)
    for modality in set(backbone.modalities) - {"text"}:
        given = [getattr(sample, modality) for sample in subject.samples[:2]]
        with torch.no_grad():
            latents = getattr(backbone, f"encode_{modality}")(given)
            made = getattr(backbone, f"decode_{modality}")(latents)
        subject.expect(
            tuple(latents.shape) == (2, *backbone.latent_shape(modality)),
            f"{modality} latents have shape {list(latents.shape)}",
            expected=str([2, *backbone.latent_shape(modality)]),
        )
        subject.expect(len(made) == 2, f"of 2 {modality} latents, {len(made)} are decoded")


def nothing_in_it_is_random_in_evaluation(subject: Subject) -> None:
    """Also after `train()`: one text has one encoding, whoever calls."""
    run = _run(subject)
    run.model.train()
    first, second = (_encode(run.model.backbone, TEXTS) for _ in range(2))
    run.model.eval()
    subject.expect(torch.equal(first, second), "encoding a text is random while training")


def _run(subject: Subject) -> SmallRun:
    return subject.once("run", lambda: small_run(subject, {"head": "linear", "refiner": "none"}))


def _backbone(subject: Subject) -> Backbone:
    return _run(subject).model.backbone


def _tokens(subject: Subject) -> TokenBatch:
    return _backbone(subject).tokenise(TEXTS, max_length=32)


def _encode(backbone: Backbone, texts: tuple[str, ...]) -> Tensor:
    tokens = backbone.tokenise(texts, max_length=32)
    with torch.no_grad():
        return backbone.encode_text(tokens.prompt_ids, tokens.is_empty).clone()


def _expect_features(subject: Subject, features: TextFeatures) -> None:
    backbone = _backbone(subject)
    for name in ("hidden", "x0"):
        values: Tensor = getattr(features, name)
        expected = (len(TEXTS), backbone.latent_tokens, backbone.feature_dims[name])
        subject.expect(
            tuple(values.shape) == expected and bool(values.isfinite().all()),
            f"{name} has shape {list(values.shape)}",
            expected=f"{list(expected)}, finite",
        )


CHECKS = (
    *COMMON,
    *named(
        sizes_are_known_before_weights,
        identity_is_the_same_for_the_same_weights,
        texts_become_ids,
        text_latents_have_their_shape,
        text_features_have_their_shape,
        words_cost_what_the_logits_say,
        latents_become_texts,
        pictures_and_sounds_have_latents,
        nothing_in_it_is_random_in_evaluation,
        trains_in_a_model,
    ),
)
