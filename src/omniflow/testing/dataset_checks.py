"""The contract of a dataset."""

from __future__ import annotations

from itertools import islice
from typing import Any, cast

from omniflow.errors import DataError, UnknownLengthError
from omniflow.interfaces.dataset import Dataset, Sample
from omniflow.testing.common_checks import CHECKS as COMMON
from omniflow.testing.contract import named
from omniflow.testing.subject import Subject

#: Samples that are looked at.
COUNT = 6


def some_split_has_samples(subject: Subject) -> None:
    """At least one of its splits is there; one that is not is refused with a `DataError`."""
    subject.expect(bool(_splits(subject)), "none of its splits can be read with these options")
    for split in _splits(subject):
        subject.expect(bool(_read(_dataset(subject, split))), f"split {split} has no sample")


def an_unknown_split_is_refused(subject: Subject) -> None:
    """With a `DataError`, when the dataset is made and not while a run reads it."""
    try:
        subject.construct(split="no-such-split")
    except DataError:
        return
    subject.fail("it takes split 'no-such-split'", expected="a DataError that names its splits")


def samples_have_ids_of_their_own(subject: Subject) -> None:
    """Texts, unique within the split."""
    for split in _splits(subject):
        ids = [sample.id for sample in _read(_dataset(subject, split))]
        subject.expect(
            all(isinstance(each, str) and each for each in ids) and len(set(ids)) == len(ids),
            f"ids of {split} are {ids}",
            expected="texts, no two alike",
        )


def samples_hold_what_a_sample_holds(subject: Subject) -> None:
    """Text, RGB picture, float32 sound in [-1, 1], references; at least one of the three."""
    for split in _splits(subject):
        for sample in _read(_dataset(subject, split)):
            problem = _problem_of(sample)
            subject.expect(not problem, f"sample {sample.id} of {split}: {problem}")


def a_second_instance_has_the_same_samples(subject: Subject) -> None:
    """In the same order, so that a run can be resumed."""
    for split in _splits(subject):
        first, second = (_read(_construct(subject, split)) for _ in range(2))
        subject.expect(
            [_content(sample) for sample in first] == [_content(sample) for sample in second],
            f"two instances give other samples of {split}",
        )


def position_and_record_give_the_same_sample(subject: Subject) -> None:
    """`decode` of the n-th of `records` is `dataset[n]`, wherever reading starts."""
    for split in _splits(subject):
        dataset = _dataset(subject, split)
        by_record = [_content(sample) for sample in _read(dataset)]
        for start in range(min(3, len(by_record))):
            record = next(iter(dataset.records(start)))
            subject.expect(
                _content(dataset.decode(record)) == by_record[start],
                f"records({start}) of {split} does not begin with sample {start}",
            )
            subject.expect(
                _content(dataset[start]) == by_record[start],
                f"dataset[{start}] of {split} is not sample {start}",
            )


def its_length_is_the_number_of_samples(subject: Subject) -> None:
    """And a position behind it an `IndexError`; a stream says that it does not know."""
    for split in _splits(subject):
        dataset = _dataset(subject, split)
        if dataset.is_streaming:
            try:
                len(dataset)
            except UnknownLengthError:
                continue
            subject.fail("it is streamed and has a length", expected="UnknownLengthError")
        try:
            dataset[len(dataset)]
        except IndexError:
            continue
        subject.fail(f"there is a sample at {len(dataset)}, its length", expected="IndexError")


def restricted_it_has_the_same_texts(subject: Subject) -> None:
    """`restrict_to` leaves out what nobody reads, and nothing else."""
    for split in _splits(subject):
        restricted = _construct(subject, split)
        restricted.restrict_to(("text",))
        whole = [(sample.id, sample.text) for sample in _read(_dataset(subject, split))]
        subject.expect(
            [(sample.id, sample.text) for sample in _read(restricted)] == whole,
            f"restricted to text, {split} has other samples",
        )


def what_it_tells_people_is_text(subject: Subject) -> None:
    """Notices, roles of columns, lengths of texts."""
    dataset = _dataset(subject, _splits(subject)[0])
    subject.expect(
        all(isinstance(notice, str) for notice in dataset.notices()), "a notice is no text"
    )
    subject.expect(
        all(
            isinstance(column, str) and (role is None or isinstance(role, str))
            for column, role in dataset.column_roles().items()
        ),
        "column_roles are no texts",
    )
    length = dataset.length_of(next(iter(dataset.records())))
    subject.expect(
        length is None or (isinstance(length, int) and length >= 0),
        f"length_of gives {length!r}",
        expected="a whole number, or None where it is not cheap to tell",
    )


def _splits(subject: Subject) -> list[str]:
    """The splits that are there."""

    def find() -> list[str]:
        return [split for split in cast(Any, subject.load()).splits if _is_there(subject, split)]

    return subject.once("splits", find)


def _is_there(subject: Subject, split: str) -> bool:
    try:
        _dataset(subject, split)
    except DataError:
        return False
    return True


def _construct(subject: Subject, split: str) -> Dataset:
    return cast(Dataset, subject.construct(split=split))


def _dataset(subject: Subject, split: str) -> Dataset:
    return subject.once(f"dataset {split}", lambda: _construct(subject, split))


def _read(dataset: Dataset) -> list[Sample]:
    return list(islice(dataset, COUNT))


def _problem_of(sample: Any) -> str:
    """What is wrong with a sample, if anything; a plugin's types may be other than it says."""
    if not isinstance(sample, Sample):
        return f"it is a {type(sample).__name__}, expected omniflow.interfaces.Sample"
    return _problem_of_contents(sample) or _problem_of_sound(sample)


def _problem_of_contents(sample: Any) -> str:
    if sample.text is None and sample.image is None and sample.audio is None:
        return "it has neither text, picture nor sound"
    if not all(isinstance(each, str) for each in (sample.text or "", *sample.references)):
        return "text or references are no texts"
    if not isinstance(sample.references, tuple):
        return f"references are a {type(sample.references).__name__}, expected a tuple"
    if sample.image is not None and sample.image.mode != "RGB":
        return f"its picture has mode {sample.image.mode}, expected RGB"
    return ""


def _problem_of_sound(sample: Any) -> str:
    if sample.audio is None:
        return ""
    waveform, rate_hz = sample.audio.waveform, sample.audio.rate_hz
    if waveform.ndim != 2 or waveform.dtype.name != "float32" or waveform.size == 0:
        return (
            f"its waveform is {waveform.dtype} {list(waveform.shape)}, "
            "expected float32 [channels, samples]"
        )
    if abs(waveform).max() > 1:
        return "its waveform leaves [-1, 1]"
    return "" if isinstance(rate_hz, int) and rate_hz > 0 else f"its rate is {rate_hz!r}"


def _content(sample: Sample) -> tuple[Any, ...]:
    """Everything that is in a sample, to compare."""
    image = None if sample.image is None else (sample.image.size, sample.image.tobytes())
    audio = sample.audio
    sound = None if audio is None else (audio.rate_hz, audio.waveform.tobytes())
    return sample.id, sample.text, image, sound, sample.references


CHECKS = (
    *COMMON,
    *named(
        some_split_has_samples,
        an_unknown_split_is_refused,
        samples_have_ids_of_their_own,
        samples_hold_what_a_sample_holds,
        a_second_instance_has_the_same_samples,
        position_and_record_give_the_same_sample,
        its_length_is_the_number_of_samples,
        restricted_it_has_the_same_texts,
        what_it_tells_people_is_text,
    ),
)
