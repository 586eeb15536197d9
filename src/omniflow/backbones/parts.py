"""What stands around the transformer and the text VAE: encoders of conditions, and autoencoders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from torch import Tensor, nn

from omniflow.backbones.layout import Part, PublishedFolder
from omniflow.errors import CheckpointError, UsageError
from omniflow.models.clip_towers import CLIP_FILES, CLIP_TOKENIZER_FILES
from omniflow.models.log_mel import CONFIG_NAME as AUDIO_CONFIG
from omniflow.pretrained import WEIGHTS, PretrainedSource

if TYPE_CHECKING:
    from omniflow.models.audio_autoencoder import AudioAutoencoder
    from omniflow.models.clip_towers import ClipText, ClipVision
    from omniflow.models.image_autoencoder import ImageAutoencoder
    from omniflow.models.languagebind import LanguageBindAudio
    from omniflow.models.vocoder import Vocoder

#: Where the published models take the parts from that their folders lack.
CLIP_ID = "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K"
AUDIO_ENCODER_ID = "LanguageBind/LanguageBind_Audio_FT"
AUDIO_ID = "cvssp/audioldm2"

#: Latents of the audio VAE on the Hub: channels, time, mel.
AUDIO_LATENTS = (8, 256, 16)

#: Parts that encode conditions and nothing else; the others decode as well.
_ENCODERS = ("clip_text", "clip_big_text", "clip_vision", "audio_tower")

Module = TypeVar("Module", bound=nn.Module)


class Parts:
    """The parts by what they do, each read when it is first asked for.

    They are no modules of the backbone: what counts, moves or saves its parameters does not see
    them. Each is brought to the place when it is used.

    Args:
        folder: The model that they belong to.
        place: Says where the backbone is, and its dtype. Encoders share both; autoencoders are
            float32.
        clip: Folder or Hub id of a CLIP model, in place of `text_encoder/` or of the Hub's.
        audio_encoder: The same for LanguageBind's audio tower and `audio_encoder/`.
        audio_vae: The same for the audio VAE and `audio_vae/`.
        vocoder: The same for the vocoder and `vocoder/`.

    Raises:
        CheckpointError: If a folder that is named is not there.
    """

    def __init__(
        self,
        folder: PublishedFolder,
        place: Callable[[], Tensor],
        *,
        clip: str | None = None,
        audio_encoder: str | None = None,
        audio_vae: str | None = None,
        vocoder: str | None = None,
    ) -> None:
        self._folder = folder
        self._place = place
        self._loaded: dict[str, nn.Module] = {}
        own_clip = _own(folder, "text_encoder")
        if own_clip is not None and own_clip.config().get("model_type") != "clip":
            # Folders derived from Stable Diffusion 3 hold a text tower alone, of another CLIP.
            own_clip = None
        self.image_vae = _own(folder, "vae")
        self.audio_vae = _named(audio_vae, "vae") or _own(folder, "audio_vae")
        self._vocoder = _named(vocoder, "vocoder") or _own(folder, "vocoder")
        self._clip = _named(clip) or own_clip or Part(PretrainedSource(CLIP_ID))
        self._has_own_clip = clip is None and own_clip is not None
        self._audio_encoder = (
            _named(audio_encoder)
            or _own(folder, "audio_encoder")
            or Part(PretrainedSource(AUDIO_ENCODER_ID))
        )

    def modalities(self, audio_shape: Sequence[int]) -> tuple[str, ...]:
        """The streams whose autoencoder is there, or on the Hub and of the right shape.

        Args:
            audio_shape: Shape of the audio latents that the transformer reads.
        """
        has_audio = self.audio_vae is not None or tuple(audio_shape) == AUDIO_LATENTS
        has = {"image": self.image_vae is not None, "text": True, "audio": has_audio}
        return tuple(name for name, is_there in has.items() if is_there)

    @property
    def clip_text(self) -> ClipText:
        """The smaller CLIP text tower."""
        return self._encoder("clip_text", self._load_clip_text)

    @property
    def clip_big_text(self) -> ClipText:
        """The larger CLIP text tower, of `text_encoder_2/`."""
        return self._encoder("clip_big_text", self._load_big_text)

    @property
    def clip_vision(self) -> ClipVision:
        """The CLIP vision tower."""
        return self._encoder("clip_vision", self._load_vision)

    @property
    def audio_tower(self) -> LanguageBindAudio:
        """LanguageBind's audio tower."""
        return self._encoder("audio_tower", self._load_audio_tower)

    @property
    def image_autoencoder(self) -> ImageAutoencoder:
        """The image VAE."""
        return self._kept("image_autoencoder", self._load_image_vae).to(self._place().device)

    @property
    def audio_autoencoder(self) -> AudioAutoencoder:
        """The audio VAE with its front end."""
        return self._kept("audio_autoencoder", self._load_audio_vae).to(self._place().device)

    @property
    def audio_decoder(self) -> AudioAutoencoder:
        """The audio VAE with a vocoder, which encoding does not need."""
        if self.audio_autoencoder.vocoder is None:
            self.audio_autoencoder.vocoder = self._load_vocoder()
        return self.audio_autoencoder

    def read(self) -> dict[str, nn.Module]:
        """Those that have been read, by name."""
        return dict(self._loaded)

    def offload(self) -> None:
        """Bring the encoders to the CPU, until they are asked for again."""
        for name in _ENCODERS:
            if name in self._loaded:
                self._loaded[name].to("cpu")

    def files(self, name: str) -> dict[str, Path]:
        """Every file that shapes what a part makes, by its name; of one on the Hub they are got.

        Args:
            name: clip_text, clip_big_text, clip_vision, audio_tower, image_autoencoder or
                audio_autoencoder.

        Raises:
            CheckpointError: If files are missing.
            UsageError: If the Hub cannot be reached or does not have them.
        """
        if name == "image_autoencoder":
            part = self._image_part()
            return _named_files(part.folder("config.json"), "config.json", part.weights())
        if name == "audio_autoencoder":
            part = self._audio_part()
            folder = part.folder("config.json", AUDIO_CONFIG)
            return _named_files(folder, "*.json", part.weights())
        if name == "audio_tower":
            return _local(self._audio_encoder, "config.json", *WEIGHTS).files("config.json")
        if name == "clip_vision":
            return _local(self._clip, *CLIP_FILES, *WEIGHTS).files(*CLIP_FILES)
        source, words = self._text_sources(name)
        tokenizer = words.folder(*CLIP_TOKENIZER_FILES)
        found = [file for pattern in CLIP_TOKENIZER_FILES for file in tokenizer.glob(pattern)]
        return {
            **source.files(*CLIP_FILES),
            **{f"tokenizer/{file.name}": file for file in found if file.is_file()},
        }

    def _encoder(self, name: str, load: Callable[[], Module]) -> Module:
        place = self._place()
        return self._kept(name, load).to(place.device, place.dtype)

    def _kept(self, name: str, load: Callable[[], Module]) -> Module:
        if name not in self._loaded:
            self._loaded[name] = load().eval().requires_grad_(False)
        return self._loaded[name]  # type: ignore[return-value]

    def _text_sources(self, name: str) -> tuple[PretrainedSource, PretrainedSource]:
        """Where a CLIP tower and its tokenizer come from."""
        if name == "clip_big_text":
            return self._big_text_sources()
        source = _local(self._clip, *CLIP_FILES, *WEIGHTS)
        tokenizer = _own(self._folder, "tokenizer", "tokenizer_config.json")
        is_apart = self._has_own_clip and tokenizer is not None
        words = _local(tokenizer, *CLIP_TOKENIZER_FILES) if is_apart and tokenizer else source
        return source, words

    def _big_text_sources(self) -> tuple[PretrainedSource, PretrainedSource]:
        for name, file in (
            ("text_encoder_2", "config.json"),
            ("tokenizer_2", "tokenizer_config.json"),
        ):
            if _own(self._folder, name, file) is None:
                raise _lacking(self._folder, f"{name}/", "a given text")
        tower = _local(self._folder.part("text_encoder_2"), "config.json", *WEIGHTS)
        return tower, _local(self._folder.part("tokenizer_2"), *CLIP_TOKENIZER_FILES)

    def _load_clip_text(self) -> ClipText:
        from omniflow.models.clip_towers import ClipText, read_clip_tokenizer, read_tower

        source, words = self._text_sources("clip_text")
        return ClipText(read_tower(source, "text"), read_clip_tokenizer(words))

    def _load_big_text(self) -> ClipText:
        from omniflow.models.clip_towers import ClipText, read_clip_tokenizer, read_text_tower

        tower, words = self._text_sources("clip_big_text")
        return ClipText(read_text_tower(tower), read_clip_tokenizer(words))

    def _load_vision(self) -> ClipVision:
        from omniflow.models.clip_towers import ClipVision, read_clip_processor, read_tower

        source = _local(self._clip, *CLIP_FILES, *WEIGHTS)
        return ClipVision(read_tower(source, "image"), read_clip_processor(source))

    def _load_audio_tower(self) -> LanguageBindAudio:
        from omniflow.models.languagebind import read_languagebind
        from omniflow.models.languagebind_config import read_audio_tower_config

        source = _local(self._audio_encoder, "config.json", *WEIGHTS)
        return read_languagebind(source, *read_audio_tower_config(source))

    def _load_image_vae(self) -> ImageAutoencoder:
        from omniflow.models.image_autoencoder import ImageAutoencoder

        part = self._image_part()
        part.weights()
        return ImageAutoencoder(part.folder("config.json"))

    def _image_part(self) -> Part:
        if self.image_vae is None:
            raise _lacking(self._folder, "vae/", "a picture")
        return self.image_vae

    def _audio_part(self) -> Part:
        return self.audio_vae or Part(PretrainedSource(AUDIO_ID), "vae")

    def _load_audio_vae(self) -> AudioAutoencoder:
        from omniflow.models.audio_autoencoder import AudioAutoencoder
        from omniflow.models.log_mel import LogMelConfig

        part = self._audio_part()
        part.weights()
        folder = part.folder("config.json", AUDIO_CONFIG)
        return AudioAutoencoder(folder, LogMelConfig.from_folder(folder))

    def _load_vocoder(self) -> Vocoder:
        from omniflow.models.vocoder import load_vocoder

        part = self._vocoder or Part(PretrainedSource(AUDIO_ID), "vocoder")
        folder = part.folder("config.json", *WEIGHTS)
        return load_vocoder(folder, self.audio_autoencoder.config)


def _own(folder: PublishedFolder, name: str, file: str = "config.json") -> Part | None:
    """A sub-folder of the model, if it is there."""
    part = folder.part(name)
    return part if (part.folder(file) / file).is_file() else None


def _named(path: str | None, below: str = "") -> Part | None:
    """A part that a person names: the folder itself, or where the Hub has it, below its root."""
    if path is None:
        return None
    source = PretrainedSource(path)
    is_itself = source.is_local and (Path(path).expanduser() / "config.json").is_file()
    return Part(source) if is_itself or not below else Part(source, below)


def _local(part: Part, *patterns: str) -> PretrainedSource:
    """The part as a source of its own; files of a sub-folder are fetched now."""
    if not part.name:
        return part.source
    folder = part.folder(*patterns)
    if not folder.is_dir():
        raise CheckpointError("there is no such part", where=part.label)
    return PretrainedSource(str(folder))


def _named_files(folder: Path, pattern: str, weights: Iterable[Path]) -> dict[str, Path]:
    return {file.name: file for file in (*folder.glob(pattern), *weights)}


def _lacking(folder: PublishedFolder, part: str, purpose: str) -> UsageError:
    return UsageError(
        f"{part} is missing, which {purpose} needs",
        where=folder.source.path,
        expected=f"a model whose folder has {part}",
    )
