"""What happens when a visitor presses the button."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniflow.demo.making import Wish, make
from omniflow.demo.models import OfferedModels
from omniflow.errors import OmniFlowError
from omniflow.media.audio import write_wav

if TYPE_CHECKING:
    from omniflow.sampling.generate import Generated


def making_action(gr: Any, models: OfferedModels, files: Path) -> Any:
    """A function of the values of the inputs that gives those of the outputs.

    Args:
        gr: Gradio.
        models: The models that the page offers.
        files: Where sounds lie that are on their way to a visitor.
    """

    def run(
        name: str,
        text: str | None,
        image: str | None,
        audio: str | None,
        made: list[str],
        seed: int | None,
        steps: int,
        is_suggested: bool,
        guidance: float,
        progress: Any = gr.Progress(),  # noqa: B008 - how gradio wants it
    ) -> list[Any]:
        weight = None if is_suggested else guidance
        wish = Wish(text or "", image, audio, made, seed or 0, steps, weight)
        try:
            task = wish.task()
            progress(0, desc="reading the model")
            model = models.get(name)
            begun = time.perf_counter()
            generated = make(
                model,
                wish,
                progress=lambda done, total: progress((done, total), desc=str(task), unit="steps"),
            )
        except OmniFlowError as error:
            raise gr.Error(error.render(), duration=None, print_exception=False) from error
        seconds = time.perf_counter() - begun
        told = f"`{task}` by `{name}`, seed {wish.seed}, in {seconds:.1f} s"
        return [*_shown(gr, generated, files), told]

    return run


def _shown(gr: Any, generated: Generated, files: Path) -> list[Any]:
    """Text, picture and sound; those that were not made are hidden."""
    text = generated.texts[0] if generated.texts else None
    image = generated.images[0] if generated.images else None
    sound = None
    if generated.sounds:
        # As a file: a waveform would be made as loud as it can be.
        sound = files / f"{uuid.uuid4().hex}.wav"
        write_wav(sound, generated.sounds[0])
    values = (text, image, None if sound is None else str(sound))
    return [
        part(value=value, visible=value is not None)
        for part, value in zip((gr.Textbox, gr.Image, gr.Audio), values, strict=True)
    ]
