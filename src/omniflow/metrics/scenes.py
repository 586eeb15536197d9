"""Scenes: how much of what a caption, a picture or a sound should show, it does show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, TypeAlias, Union

from omniflow.errors import DataError
from omniflow.interfaces.dataset import Audio
from omniflow.interfaces.metric import Metric, Prediction, RecordFigures, Score
from omniflow.metrics.inputs import makes, require_references
from omniflow.scenes.caption_reader import read_caption
from omniflow.scenes.grammar import Scene
from omniflow.scenes.picture_reader import read_picture
from omniflow.scenes.reading import ATTRIBUTES, Comparison, Reading, compare
from omniflow.scenes.sound_reader import read_sound
from omniflow.version import __version__

if TYPE_CHECKING:
    from PIL import Image

#: A caption, a picture or a sound; a scene itself is what all of them should show.
Output: TypeAlias = Union[str, "Image.Image", Audio]


class Scenes(Metric):
    """Mean share of a scene's attributes that are right, in [0, 1]; for the dataset `scenes`.

    Attributes are the shape, colour and size of each thing, the relation of each two, the place of
    a lone thing, the background and the number of things. Scenes are compared, not words: "a above
    b" and "b below a" are the same. Of several references, the one that fits best counts.
    """

    def compute(self, predictions: Sequence[Prediction]) -> Score:
        """Score what was made; the details hold the shares of whole scenes and of each attribute.

        A picture is read where the task makes one, else a sound, else the caption.

        Raises:
            DataError: If there is no prediction, a reference is no caption of a scene, or a file
                cannot be read.
        """
        require_references(predictions, is_text=False)
        best = []
        for prediction in predictions:
            read = _read(_output_of(prediction))
            compared = [
                compare(read, _truth(reference, where=f"record {prediction.id}"))
                for reference in prediction.references
            ]
            best.append(max(compared, key=lambda one: one.accuracy))
        return _score(best)


def _output_of(record: Prediction) -> Output:
    if record.image is not None and makes(record, "image"):
        from omniflow.media.image import read_image

        return read_image(record.image)
    if record.audio is not None and makes(record, "audio"):
        from omniflow.media.audio import read_audio

        return read_audio(record.audio)
    return record.prediction


def score_scene(output: Output, truth: Scene | str) -> Comparison:
    """What is right in one output.

    Args:
        output: A caption, a picture or a sound.
        truth: The scene that it should show, or a caption of it.

    Raises:
        DataError: If `truth` is no caption of a scene.
    """
    return compare(_read(output), _truth(truth, where="the truth"))


def score_scenes(outputs: Sequence[Output], truths: Sequence[Scene | str]) -> Score:
    """The same figures as `Scenes` has, for outputs of any kind, each with its truth.

    Raises:
        DataError: If there is no output, not one truth for each, or one that is no caption of a
            scene.
    """
    if not outputs or len(outputs) != len(truths):
        raise DataError(
            f"there are {len(outputs)} outputs and {len(truths)} truths",
            expected="at least one output, and one truth for each",
        )
    return _score([score_scene(*pair) for pair in zip(outputs, truths, strict=True)])


def _read(output: Output) -> Reading:
    if isinstance(output, str):
        return read_caption(output)
    if isinstance(output, Audio):
        return read_sound(output)
    return read_picture(output)


def _truth(truth: Scene | str, *, where: str) -> Reading:
    if isinstance(truth, Scene):
        return Reading.of(truth)
    reading = read_caption(truth)
    if not reading.things:
        raise DataError(
            f"the reference {truth!r} names no coloured shape",
            where=where,
            expected="a caption of a scene, as the dataset scenes writes them",
        )
    return reading


def _score(compared: Sequence[Comparison]) -> Score:
    import numpy as np

    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for one in compared:
        right.update(one.right)
        total.update(one.total)
    values = [one.accuracy for one in compared]
    shares = {name: right[name] / total[name] for name in ATTRIBUTES if total[name]}
    return Score(
        value=fmean(values),
        signature={
            "implementation": "omniflow",
            "version": __version__,
            "measure": "right attributes / true or superfluous ones, mean over records",
            "matching": "things by colour, then by most attributes",
            "references": "best",
        },
        details={"exact": fmean(one.exact for one in compared), **shares},
        records=RecordFigures(np.array(values)),
    )
