"""A sound back into a scene, by listening: no learned part.

How things stand and how large they are fixes when each tone begins, ends and which way it glides.
All such scores are compared with the sound, the likeliest are filled with the tones that fit best,
and the one that then looks most like the sound is what it says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np

from omniflow.interfaces.dataset import Audio
from omniflow.scenes.grammar import (
    BACKGROUNDS,
    COLOURS,
    PLACES,
    RELATIONS,
    SHAPES,
    SIZES,
    THIRD_SIDES,
    Scene,
    Thing,
    is_drawable,
)
from omniflow.scenes.reading import Reading
from omniflow.scenes.sound import DURATIONS_S, RATE_HZ, glides, render_sound, starts
from omniflow.scenes.sound_spectrum import (
    BANDS,
    FRAMES,
    HOP,
    KINDS,
    LEAD,
    Slot,
    band_powers,
    hum_powers,
    loudness,
    tone_powers,
)

# How many scores are filled with tones, and how often each tone is reconsidered.
_TRIED = 24
_FINALISTS = 5
_CLEAR_LEAD = 0.03
_SWEEPS = 3
# Bands below the lowest tone hold the hum.
_LOWEST_TONE_BAND = 3
_SILENT = 0.2
_OVERLAP_COST = 0.1
_QUIET_FRAMES = 8
_LEAST_POWER = 1e-6
# Likeness that one more tone must bring: a spurious one explains a little noise, too.
_TONE_COST = 0.01
# Of the mean noise power; its peaks are higher than the mean.
_NOISE_TAKEN = 3.0


@dataclass(frozen=True)
class _Score:
    """A scene whose shapes and colours are not known yet, and when its tones sound.

    Args:
        scene: With placeholders.
        slots: One for each thing.
        alone: For each slot, which of its inner frames no other tone shares.
        silent: The frames without any tone [FRAMES].
        shared: The frames with more than one [FRAMES].
    """

    scene: Scene
    slots: tuple[Slot, ...]
    alone: tuple[np.ndarray, ...]
    silent: np.ndarray
    shared: np.ndarray


def read_sound(audio: Audio) -> Reading:
    """What `audio` says, as far as it can be made out; never an error.

    Args:
        audio: Of any rate, loudness and number of channels; the first second is listened to.
    """
    powers = _without_noise(band_powers(audio))
    if not powers.max() > _LEAST_POWER:
        return Reading()
    heard = loudness(powers)
    filled = sorted(
        (_filled(score, kinds, heard) for score, kinds in _likely(heard)), key=_likeness
    )
    finalists = [one.scene for one in filled[-_FINALISTS:]]
    if filled[-1].likeness - filled[-2].likeness > _CLEAR_LEAD:
        return Reading.of(finalists[-1])
    return Reading.of(max(finalists, key=lambda scene: _rendered_likeness(scene, heard)))


@dataclass(frozen=True)
class _Filled:
    """A whole scene, and how much like the sound its tones are: a cosine, less a little a tone."""

    likeness: float
    scene: Scene


def _likeness(filled: _Filled) -> float:
    return filled.likeness


def _rendered_likeness(scene: Scene, heard: np.ndarray) -> float:
    """The same for the sound of `scene` itself, where tones that overlap beat with one another."""
    powers = _without_noise(band_powers(render_sound(scene)))
    return float(_likenesses(heard, powers[None])[0]) - _TONE_COST * len(scene.things)


def _without_noise(powers: np.ndarray) -> np.ndarray:
    """Without what the quietest frames have, too; a hum is no noise."""
    quiet = powers[:, _LOWEST_TONE_BAND:].sum(axis=1).argsort()[:_QUIET_FRAMES]
    noise = _NOISE_TAKEN * powers[quiet].mean(axis=0)
    noise[:_LOWEST_TONE_BAND] = 0.0
    return np.asarray(np.maximum(powers - noise, 0.0))


@cache
def _scores() -> tuple[_Score, ...]:
    return tuple(_score(scene) for scene in _outlines())


def _score(scene: Scene) -> _Score:
    slots = tuple(
        Slot(round(start * RATE_HZ / HOP), thing.size, glide)
        for thing, start, glide in zip(scene.things, starts(scene), glides(scene), strict=True)
    )
    sounding = np.zeros(FRAMES, dtype=int)
    silent = np.ones(FRAMES, dtype=bool)
    for slot in slots:
        sounding[slot.start : slot.start + _frames(slot.size) + 1] += 1
        silent[max(slot.start - 2, 0) : slot.start + _frames(slot.size) + 3] = False
    alone = tuple(
        sounding[slot.start + 2 : slot.start + _frames(slot.size) - 1] == 1 for slot in slots
    )
    return _Score(scene, slots, alone, silent, sounding > 1)


def _outlines() -> Iterator[Scene]:
    """Every way of standing with every size; shapes and colours are placeholders."""
    for size, place in product(SIZES, PLACES):
        yield Scene((_blank(0, size),), place=place)
    for pair in RELATIONS:
        for third in (None, *sorted(set(THIRD_SIDES.get(pair, ())))):
            for sizes in product(SIZES, repeat=2 if third is None else 3):
                things = tuple(_blank(*entry) for entry in enumerate(sizes))
                scene = Scene(things, pair=pair, third=third)
                if is_drawable(scene):
                    yield scene


def _blank(index: int, size: str) -> Thing:
    # The circle is the shape that holds most.
    return Thing(SHAPES[0], COLOURS[index], size)


def _frames(size: str) -> int:
    return round(DURATIONS_S[size] * RATE_HZ / HOP)


def _likely(heard: np.ndarray) -> list[tuple[_Score, list[int]]]:
    """The scores that fit best, each with a first guess at its tones."""
    listener = _Listener(heard)
    rated = [(*listener.rate(score), index) for index, score in enumerate(_scores())]
    rated.sort(key=lambda entry: entry[0])
    return [(_scores()[index], kinds) for _, kinds, index in rated[:_TRIED]]


class _Listener:
    """Compares single frames of a sound with those of tones, however loud."""

    def __init__(self, heard: np.ndarray) -> None:
        tones = heard[:, _LOWEST_TONE_BAND:]
        level = np.linalg.norm(tones, axis=1)
        self.activity = level / max(level.max(), 1e-12)
        self.is_active = self.activity > _SILENT
        self.frames = np.where(
            self.is_active[:, None], tones / np.maximum(level, 1e-12)[:, None], 0.0
        )
        self.silence_costs = np.minimum(1.0, 2 * self.activity)
        self.shared_costs = np.where(self.is_active, _OVERLAP_COST, 1.0)
        self._misfits: dict[Slot, np.ndarray] = {}
        self._frame_misfits: dict[tuple[str, float], np.ndarray] = {}

    def rate(self, score: _Score) -> tuple[float, list[int]]:
        """Mean misfit of a frame, and the kind of tone that fits best in each slot."""
        cost = float(self.silence_costs[score.silent].sum())
        cost += float(self.shared_costs[score.shared].sum())
        counted = int(score.silent.sum()) + int(score.shared.sum())
        kinds = []
        for slot, alone in zip(score.slots, score.alone, strict=True):
            misfits = self._slot_misfits(slot)
            number = int(alone.sum())
            costs = (misfits[alone] if number else misfits).sum(axis=0)
            kinds.append(int(costs.argmin()))
            if number:
                cost += float(costs.min())
                counted += number
        return cost / counted, kinds

    def _slot_misfits(self, slot: Slot) -> np.ndarray:
        """1 - cosine of each inner frame and kind of a tone here [frames, kinds]."""
        if slot not in self._misfits:
            tone = slot.size, slot.glide
            if tone not in self._frame_misfits:
                inner = _inner_frames(*tone)
                likeness = self.frames @ inner.reshape(-1, inner.shape[-1]).T
                self._frame_misfits[tone] = 1.0 - likeness.reshape(FRAMES, *inner.shape[:2])
            found = self._frame_misfits[tone]
            steps = np.arange(found.shape[1])
            self._misfits[slot] = found[slot.start + 2 + steps, steps]
        return self._misfits[slot]


@cache
def _inner_frames(size: str, glide: float) -> np.ndarray:
    """Unit vectors of all frames but the first and last two [frames, kinds, bands]."""
    inner = loudness(tone_powers(size, glide))
    inner = inner[:, LEAD + 2 : LEAD + _frames(size) - 1, _LOWEST_TONE_BAND:]
    unit = inner / np.linalg.norm(inner, axis=2, keepdims=True)
    return np.ascontiguousarray(unit.transpose(1, 0, 2))


def _filled(score: _Score, kinds: Sequence[int], heard: np.ndarray) -> _Filled:
    """The score with the tones that fit best.

    One tone after the other is exchanged for the best one while the others stay, a few times
    over; no two things have the same colour.
    """
    chosen, background, likeness = list(kinds), 0, 0.0
    # The first guess at a tone that never sounds alone is what sounds over it.
    unsure_first = sorted(range(len(chosen)), key=lambda index: score.alone[index].sum())
    for _ in range(_SWEEPS):
        before = list(chosen), background
        options = _likenesses(heard, _together(score, chosen) + hum_powers())
        background = int(options.argmax())
        for index in unsure_first:
            slot = score.slots[index]
            others = hum_powers()[background] + _together(score, chosen, leave_out=index)
            options = _exchanged(heard, others, slot)
            taken = {KINDS[kind][1] for other, kind in enumerate(chosen) if other != index}
            options[[colour in taken for _, colour in KINDS]] = -1.0
            chosen[index] = int(options.argmax())
            likeness = float(options.max())
        if (chosen, background) == before:
            break
    things = tuple(
        Thing(*KINDS[kind], slot.size) for kind, slot in zip(chosen, score.slots, strict=True)
    )
    scene = replace(score.scene, things=things, background=BACKGROUNDS[background])
    return _Filled(likeness - _TONE_COST * len(things), scene)


def _together(score: _Score, kinds: Sequence[int], leave_out: int | None = None) -> np.ndarray:
    """Power of the tones of a score [FRAMES, BANDS]."""
    powers = np.zeros((FRAMES, BANDS), dtype=np.float32)
    for index, (slot, kind) in enumerate(zip(score.slots, kinds, strict=True)):
        if index != leave_out:
            span, part = _span(slot)
            powers[span] += tone_powers(slot.size, slot.glide)[kind, part]
    return powers


def _span(slot: Slot) -> tuple[slice, slice]:
    """The frames of a sound that a tone reaches, and which of the tone's frames these are."""
    start = slot.start - LEAD
    end = start + _frames(slot.size) + 2 * LEAD + 1
    span = slice(max(start, 0), min(end, FRAMES))
    return span, slice(span.start - start, span.stop - start)


def _likenesses(heard: np.ndarray, powers: np.ndarray) -> np.ndarray:
    """Cosine of what was heard and each of `powers` [options, FRAMES, BANDS], however loud."""
    expected = loudness(powers).reshape(len(powers), -1)
    norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(heard)
    return np.asarray(expected @ heard.ravel() / np.maximum(norms, 1e-12))


def _exchanged(heard: np.ndarray, others: np.ndarray, slot: Slot) -> np.ndarray:
    """The same cosine for each kind of tone in this slot, beside `others` [FRAMES, BANDS]."""
    span, part = _span(slot)
    within = loudness(others[span] + tone_powers(slot.size, slot.glide)[:, part])
    within = within.reshape(len(KINDS), -1)
    outside = loudness(others)
    outside[span] = 0.0
    products = (outside * heard).sum() + within @ heard[span].ravel()
    squares = (outside**2).sum() + np.einsum("kx,kx->k", within, within)
    return np.asarray(products / (np.sqrt(squares) * np.linalg.norm(heard) + 1e-12))
