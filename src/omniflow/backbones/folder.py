"""A backbone in the published layout, from a folder or from the Hub."""

from __future__ import annotations

from typing import Any, Literal

from omniflow.backbones.published import PublishedBackbone


class FolderBackbone(PublishedBackbone):
    """A frozen OmniFlow model from a folder or the Hub.

    Args:
        path: A folder in the published layout, or OWNER/NAME on the Hub.
        revision: Branch, tag or commit on the Hub; its main branch when null.
        dtype: Precision of the weights in memory; auto keeps that of the file.
        ema: Whether to read the averaged weights of `ema_transformer.pt`.
        t5: A folder or Hub id of the T5 to take; when null, that of `text_encoder_3/` and
            `tokenizer_3/` if the model has one of the right width, else google/flan-t5-large.
        clip: The same for the CLIP model that embeds texts and pictures; when null, that of
            `text_encoder/`, else laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K.
        audio_encoder: The same for LanguageBind's audio tower; when null, that of
            `audio_encoder/`, else LanguageBind/LanguageBind_Audio_FT.
        audio_vae: The same for the audio VAE; when null, that of `audio_vae/`, else the one of
            cvssp/audioldm2.
        vocoder: The same for the vocoder; when null, that of `vocoder/`, else the one of
            cvssp/audioldm2.
        image_size: Side of given pictures and, unless said otherwise, of made ones, in pixels; when
            null, the `sample_size` of the image VAE, at most 512.
        transformer_config: Contents of a transformer's config.json: start from random weights of
            these sizes instead of reading the model's own; null reads them.

    Raises:
        UsageError: If there is no such folder or Hub id, or its T5 cannot be read.
        CheckpointError: If a part is missing or unreadable.
        ConfigError: If a configuration is impossible, or `dtype` is not one of the three.
    """

    def __init__(
        self,
        *,
        path: str,
        revision: str | None = None,
        dtype: Literal["auto", "fp32", "bf16"] = "fp32",
        ema: bool = False,
        t5: str | None = None,
        clip: str | None = None,
        audio_encoder: str | None = None,
        audio_vae: str | None = None,
        vocoder: str | None = None,
        image_size: int | None = None,
        transformer_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            path=path,
            revision=revision,
            dtype=dtype,
            ema=ema,
            t5=t5,
            clip=clip,
            audio_encoder=audio_encoder,
            audio_vae=audio_vae,
            vocoder=vocoder,
            image_size=image_size,
            transformer_config=transformer_config,
        )
