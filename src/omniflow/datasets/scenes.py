"""Scenes: procedural pictures of coloured shapes, with a caption and a sound each; no download."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import count
from random import Random
from typing import TYPE_CHECKING

from omniflow.datasets.splits import require_split
from omniflow.errors import ConfigError, UnknownLengthError
from omniflow.interfaces.dataset import Dataset, Sample
from omniflow.scenes.caption import write_caption
from omniflow.scenes.grammar import Scene, draw_scene
from omniflow.scenes.picture import draw_picture
from omniflow.scenes.sound import render_sound

if TYPE_CHECKING:
    from PIL import Image


class ScenesDataset(Dataset):
    """Coloured shapes in relation to one another: a picture, a caption and a sound of each.

    Sample `index` depends on `seed`, `split` and `index` alone, whatever the size and the order of
    access. The hash of a scene's combination (see `Scene.combination`) decides its split, for
    every seed: what is tested was never trained on, in any words or on any background.

    Args:
        split: One of `splits`.
        size: Number of samples; 20,000 for train and 1,000 for the other splits when not given.
        image_size: Width and height of a picture, in pixels.
        image: Whether samples have a picture.
        audio: Whether samples have a sound (see `omniflow.scenes.sound`).
        seed: Draws other scenes, words and positions.
        streaming: Go on drawing scenes without end; `size` does not count then.

    Raises:
        ConfigError: If an option cannot have its value.
        DataError: If there is no such split.
    """

    def __init__(
        self,
        *,
        split: str = "train",
        size: int | None = None,
        image_size: int = 64,
        image: bool = True,
        audio: bool = True,
        seed: int = 0,
        streaming: bool = False,
    ) -> None:
        if size is not None and not _is_whole(size, least=1):
            raise ConfigError("size", size, expected="a whole number >= 1")
        if not _is_whole(image_size, least=16):
            raise ConfigError("image_size", image_size, expected="a whole number >= 16")
        if not _is_whole(seed, least=0):
            raise ConfigError("seed", seed, expected="a whole number >= 0")
        self.split = require_split(split, self.splits, where="scenes")
        self.size = (20_000 if split == "train" else 1_000) if size is None else size
        self.image_size = image_size
        self.has_image = image
        self.has_audio = audio
        self.seed = seed
        self.is_streaming = streaming

    def __len__(self) -> int:
        if self.is_streaming:
            raise UnknownLengthError("scenes", expected="streaming: false")
        return self.size

    def records(self, start: int = 0) -> Iterator[int]:
        """Numbers of scenes, without end where they are streamed."""
        return count(start) if self.is_streaming else super().records(start)

    def length_of(self, record: int) -> int:
        """Characters of a scene's caption."""
        return len(write_caption(*self._draw(record)))

    def __getitem__(self, index: int) -> Sample:
        scene, rng = self._draw(index)
        text = write_caption(scene, rng)
        return Sample(
            id=f"{self.split}-{index}",
            text=text,
            image=self._picture(scene, index) if self.has_image else None,
            audio=render_sound(scene) if self.has_audio else None,
            references=(text,),
        )

    def restrict_to(self, modalities: Collection[str]) -> None:
        """Draw no pictures or sounds that nobody looks at."""
        self.has_image = self.has_image and "image" in modalities
        self.has_audio = self.has_audio and "audio" in modalities

    def scene(self, index: int) -> Scene:
        """What sample `index` shows, as data."""
        return self._draw(index)[0]

    def paraphrases(self, index: int) -> tuple[str, str]:
        """Two other captions of the same scene, unlike each other and the sample's own text."""
        scene, rng = self._draw(index)
        captions = [write_caption(scene, rng)]
        while len(captions) < 3:
            caption = write_caption(scene, rng)
            if caption not in captions:
                captions.append(caption)
        return captions[1], captions[2]

    def _draw(self, index: int) -> tuple[Scene, Random]:
        """The scene, and the random state that the words are drawn from."""
        if index < 0 or (index >= self.size and not self.is_streaming):
            raise IndexError(f"index {index} is not in [0, {self.size})")
        rng = self._random(index, "scene")
        return draw_scene(rng, self.split), rng

    def _picture(self, scene: Scene, index: int) -> Image.Image:
        # A state of its own: positions must not depend on how many words were drawn.
        return draw_picture(scene, self._random(index, "picture"), self.image_size)

    def _random(self, index: int, purpose: str) -> Random:
        return Random(f"{self.seed}/{self.split}/{index}/{purpose}")


def _is_whole(value: object, *, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
