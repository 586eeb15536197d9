"""What a visitor gives and asks for, and what is made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omniflow.errors import ConfigError, UsageError
from omniflow.media.audio import read_audio
from omniflow.media.image import read_image
from omniflow.tasks import LETTERS, Task

if TYPE_CHECKING:
    from omniflow.model import OmniFlowModel
    from omniflow.sampling.generate import Generated


@dataclass(frozen=True)
class Wish:
    """What a visitor gives and asks for.

    Args:
        text: Given text; none if it is blank.
        image: File of a given picture, or None.
        audio: File of a given sound, or None.
        made: Modalities to make: `text`, `image`, `audio`.
        seed: Where the noise comes from, in [0, 2**63).
        steps: Steps from noise to data.
        guidance: Weight of what is given; None is as the model suggests, 1 is none.
    """

    text: str
    image: str | None
    audio: str | None
    made: Sequence[str]
    seed: int
    steps: int
    guidance: float | None

    def task(self) -> Task:
        """The task that serves it.

        Raises:
            UsageError: If nothing is asked for, or what is given as well.
        """
        brought = {"text": self.text.strip(), "image": self.image, "audio": self.audio}
        given = tuple(name for name in LETTERS.values() if brought[name])
        made = tuple(name for name in LETTERS.values() if name in self.made)
        if not made:
            raise UsageError("nothing is to be made", expected="at least one of text, image, audio")
        both = [name for name in made if name in given]
        if both:
            raise UsageError(
                f"{' and '.join(both)} cannot be given and made at once",
                expected="something else to make, or that input left empty",
            )
        return Task(given, made)


def make(
    model: OmniFlowModel, wish: Wish, *, progress: Callable[[int, int], None] | None = None
) -> Generated:
    """Make what is wished for, one sample.

    Args:
        model: The model.
        wish: What is given and asked for.
        progress: Called with (steps done, steps) after every step.

    Raises:
        UsageError: If the wish does not make sense, or an input cannot be read.
    """
    task = wish.task()
    if not 0 <= wish.seed < 2**63:
        raise ConfigError("seed", wish.seed, expected="a whole number in [0, 2**63)")
    return model.generate(
        task,
        prompt=wish.text.strip() if "text" in task.given else None,
        image=None if wish.image is None else read_image(wish.image),
        audio=None if wish.audio is None else read_audio(wish.audio),
        seed=wish.seed,
        steps=wish.steps,
        guidance=wish.guidance,
        progress=progress,
    )
