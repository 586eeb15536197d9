"""The contract of an encoder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import Tensor

from omniflow.interfaces import Encoder, Sample
from omniflow.tasks import POOLED_ORDER
from omniflow.testing.common_checks import CHECKS as COMMON
from omniflow.testing.contract import named
from omniflow.testing.small_run import saved_and_loaded, small_run
from omniflow.testing.subject import Subject


def modalities_and_width_are_known_before_weights(subject: Subject) -> None:
    """What it embeds, and how wide, is told by a new instance."""
    encoder = _construct(subject)
    subject.expect(
        bool(encoder.modalities) and set(encoder.modalities) <= set(POOLED_ORDER),
        f"its modalities are {encoder.modalities!r}",
        expected=f"some of {', '.join(POOLED_ORDER)}",
    )
    subject.expect(
        isinstance(encoder.width, int) and encoder.width > 0,
        f"its width is {encoder.width!r}",
        expected="a whole number above 0",
    )


def embeddings_are_finite_rows(subject: Subject) -> None:
    """[batch, width] of floating point, one row a sample."""
    width = _encoder(subject).width
    for modality, samples in _given(subject):
        embedded = _embed(subject, samples, modality)
        subject.expect(
            tuple(embedded.shape) == (len(samples), width),
            f"{modality} is embedded to shape {list(embedded.shape)}",
            expected=f"[{len(samples)}, {width}], [batch, width]",
        )
        subject.expect(
            embedded.is_floating_point() and bool(embedded.isfinite().all()),
            f"embeddings of {modality} are not finite numbers",
        )


def embeddings_tell_samples_apart(subject: Subject) -> None:
    """Two samples that differ are embedded differently."""
    for modality, samples in _given(subject):
        embedded = _embed(subject, samples, modality)
        subject.expect(
            not bool((embedded == embedded[:1]).all()),
            f"every sample's {modality} is embedded alike",
        )


def embeddings_depend_on_their_sample_alone(subject: Subject) -> None:
    """Whatever else is in the batch; the cache keeps them one by one."""
    for modality, samples in _given(subject):
        together = _embed(subject, samples, modality)
        alone = torch.cat([_embed(subject, [sample], modality) for sample in samples])
        gap = float((together - alone).abs().max())
        subject.expect(
            gap <= 1e-4 * max(1.0, float(together.abs().max())),
            f"an embedding of {modality} depends on the rest of its batch, by {gap:.2g}",
            expected="padding to a fixed length, or none that shows",
        )


def a_second_instance_embeds_alike(subject: Subject) -> None:
    """Weights are read and not drawn: nothing about an encoder is saved but its options."""
    again = _construct(subject, seed=1)
    again.load_weights()
    again.eval()
    for modality, samples in _given(subject):
        subject.expect(
            torch.equal(again.encode(samples, modality), _embed(subject, samples, modality)),
            f"another instance embeds {modality} differently",
            expected="the same weights whatever the random state",
        )


def embeddings_have_no_gradient(subject: Subject) -> None:
    """It is frozen: nothing in it is trained."""
    for modality, samples in _given(subject):
        subject.expect(
            not _embed(subject, samples, modality).requires_grad,
            f"embeddings of {modality} carry a gradient",
            expected="@torch.no_grad() on encode",
        )


def work_identity_is_the_same_for_the_same_options(subject: Subject) -> None:
    """Texts that JSON holds and that do not change from instance to instance, or None."""
    again = _construct(subject)
    again.load_weights()
    for modality in again.modalities:
        said = _encoder(subject).work_identity(modality)
        subject.expect(
            said is None or _is_texts(said),
            f"work_identity of {modality} is {said!r}",
            expected="a mapping of texts to texts, or None",
        )
        subject.expect(
            said == again.work_identity(modality),
            f"work_identity of {modality} is another for every instance",
        )


def takes_its_slot_in_a_model(subject: Subject) -> None:
    """A model on the backbone `tiny` conditions on it, and does so when it was saved and loaded."""
    run = small_run(subject, {"head": "linear", "refiner": "none"})
    again = saved_and_loaded(run, subject)
    for modality, samples in _given(subject):
        before, after = (model.embed(samples, modality) for model in (run.model, again))
        width = run.model.backbone.pooled_dim
        is_right = before is not None and tuple(before.shape) == (len(samples), width)
        subject.expect(is_right, f"{modality} does not fill the backbone's slot")
        subject.expect(
            before is not None and after is not None and torch.equal(before, after),
            f"a saved model embeds {modality} differently",
        )


def _given(subject: Subject) -> Iterator[tuple[str, list[Sample]]]:
    """Every modality that it embeds, with samples that have it."""
    for modality in _encoder(subject).modalities:
        samples = [each for each in subject.samples if getattr(each, modality) is not None]
        subject.expect(
            len(samples) > 1, f"two of its samples need a {modality}", expected="other `samples`"
        )
        yield modality, samples


def _construct(subject: Subject, *, seed: int = 0) -> Encoder:
    return cast(Encoder, subject.construct(seed=seed))


def _encoder(subject: Subject) -> Encoder:
    """The encoder with its weights, as a model has it."""

    def make() -> Encoder:
        encoder = _construct(subject)
        encoder.load_weights()
        encoder.requires_grad_(False)
        return encoder.eval()

    return subject.once("encoder", make)


def _embed(subject: Subject, samples: list[Sample], modality: str) -> Tensor:
    return _encoder(subject).encode(samples, modality)


def _is_texts(said: Mapping[str, str]) -> bool:
    try:
        same: bool = json.loads(json.dumps(dict(said))) == dict(said)
    except (TypeError, ValueError):
        return False
    return same and all(isinstance(each, str) for pair in said.items() for each in pair)


CHECKS = (
    *COMMON,
    *named(
        modalities_and_width_are_known_before_weights,
        embeddings_are_finite_rows,
        embeddings_tell_samples_apart,
        embeddings_depend_on_their_sample_alone,
        a_second_instance_embeds_alike,
        embeddings_have_no_gradient,
        work_identity_is_the_same_for_the_same_options,
        takes_its_slot_in_a_model,
    ),
)
