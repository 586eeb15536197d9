"""A scene as a sound of one second: one tone a thing, and the way they stand in time and pitch.

==============  ====================================================================
shape           timbre: the loudness of the harmonics (`HARMONICS`)
colour          pitch at the tone's onset: a major scale, red is C4, pink is C5
size            duration and loudness (`DURATIONS_S`, `LOUDNESS`)
left, right     earlier, later, with a silence between
above, below    the upper tone comes first and glides up, the lower one glides down
inside          the inner tone sounds in the middle of the outer one
in front of     the tone behind starts halfway through the one in front
a lone thing    early, halfway or late for left, middle and right; glides up at the
                top, down at the bottom
background      a quiet hum under everything (`HUM_HZ`); none for white
==============  ====================================================================
"""

from __future__ import annotations

import numpy as np

from omniflow.interfaces.dataset import Audio
from omniflow.scenes.grammar import COLOURS, Scene, Thing

RATE_HZ = 16_000
DURATION_S = 1.0

#: Loudness of the first, second, third ... harmonic.
HARMONICS = {
    "circle": (1.0,),
    "square": (1.0, 0.0, 1 / 3, 0.0, 1 / 5, 0.0, 1 / 7),
    "triangle": (1.0, 1.0, 1.0),
    "star": (1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6, 1 / 7, 1 / 8),
    "diamond": (1.0, 1.0),
    "cross": (1.0, 0.0, 0.0, 1.0),
}
#: Onset pitch of a colour, in hertz: the semitones of a major scale above C4.
PITCHES_HZ = {
    colour: 261.63 * 2 ** (step / 12)
    for colour, step in zip(COLOURS, (0, 2, 4, 5, 7, 9, 11, 12), strict=True)
}
DURATIONS_S = {"small": 0.14, "medium": 0.2, "large": 0.28}
LOUDNESS = {"small": 0.22, "medium": 0.32, "large": 0.45}
HUM_HZ = {"white": 0.0, "grey": 70.0, "black": 100.0, "beige": 140.0}

HUM_LOUDNESS = 0.05
_GLIDE_SEMITONES = 4.0
_FADE_S = 0.012
_GAP_S = 0.06


def render_sound(scene: Scene) -> Audio:
    """The sound of `scene`: [1, 16000] float32 at 16 kHz; the same scene always sounds the same."""
    samples = int(RATE_HZ * DURATION_S)
    waveform = np.zeros(samples)
    for thing, start_s, glide in zip(scene.things, starts(scene), glides(scene), strict=True):
        tone = render_tone(thing, glide)
        start = round(start_s * RATE_HZ)
        waveform[start : start + len(tone)] += tone
    if HUM_HZ[scene.background]:
        time_s = np.arange(samples) / RATE_HZ
        waveform += HUM_LOUDNESS * np.sin(2 * np.pi * HUM_HZ[scene.background] * time_s)
    return Audio(waveform=waveform.astype(np.float32)[None], rate_hz=RATE_HZ)


def starts(scene: Scene) -> list[float]:
    """When the tone of each thing begins, in seconds."""
    durations = [DURATIONS_S[thing.size] for thing in scene.things]
    if scene.pair is None:
        place = str(scene.place)
        share = 0.0 if "left" in place else 1.0 if "right" in place else 0.5
        return [share * (DURATION_S - durations[0])]
    if scene.pair == "inside":
        begins = [(durations[1] - durations[0]) / 2, 0.0]
    elif scene.pair == "in front of":
        begins = [0.0, durations[0] / 2]
    else:
        begins = [0.0, durations[0] + _GAP_S]
    ends = [start + duration for start, duration in zip(begins, durations, strict=False)]
    if scene.third in ("right of", "below"):
        begins.append(max(ends) + _GAP_S)
    elif scene.third is not None:
        begins = [*(start + durations[2] + _GAP_S for start in begins), 0.0]
    return begins


def glides(scene: Scene) -> list[float]:
    """For each thing 1 when it is above something, -1 when below, 0 when both or neither."""
    found = [0.0] * len(scene.things)
    for relation in scene.relations:
        if relation.kind == "above":
            found[relation.subject] += 1.0
            found[relation.object] -= 1.0
    if scene.place is not None:
        found[0] = 1.0 if "top" in scene.place else -1.0 if "bottom" in scene.place else 0.0
    return [float(np.sign(glide)) for glide in found]


def render_tone(thing: Thing, glide: float) -> np.ndarray:
    """The tone of one thing [samples] at 16 kHz, gliding up (1), down (-1) or not at all (0)."""
    samples = round(DURATIONS_S[thing.size] * RATE_HZ)
    done = np.arange(samples) / samples
    pitch_hz = PITCHES_HZ[thing.colour] * 2 ** (glide * _GLIDE_SEMITONES * done / 12)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    tone = np.zeros(samples)
    for number, loudness in enumerate(HARMONICS[thing.shape], start=1):
        tone += loudness * np.sin(number * phase)
    fade = round(_FADE_S * RATE_HZ)
    # Without a fade, the first and last sample would click.
    envelope = np.minimum(1.0, np.minimum(np.arange(samples), np.arange(samples)[::-1]) / fade)
    return np.asarray(LOUDNESS[thing.size] * envelope * tone / np.abs(tone).max())
