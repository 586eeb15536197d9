"""The models that the authors of OmniFlow published on the Hub."""

from __future__ import annotations

from typing import Any, Literal

from omniflow.backbones.published import PublishedBackbone


class OmniFlowV05(PublishedBackbone):
    """OmniFlow-v0.5 of the authors, from the Hub: 3.1 billion parameters and a text VAE of 1.6.

    Args:
        revision: Branch, tag or commit on the Hub; its main branch when null.
        dtype: Precision of the weights in memory; auto keeps that of the file.
        ema: Whether to read the averaged weights of `ema_transformer.pt`.
        t5: A folder or Hub id of the T5 to take instead of google/flan-t5-large.
        clip: The same for the CLIP model laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K.
        audio_encoder: The same for LanguageBind/LanguageBind_Audio_FT.
        audio_vae: The same for the audio VAE of cvssp/audioldm2.
        vocoder: The same for the vocoder of cvssp/audioldm2.
        image_size: Side of given pictures and, unless said otherwise, of made ones, in pixels; 512
            when null.
        transformer_config: Contents of a transformer's config.json: start from random weights of
            these sizes instead of reading the model's own; null reads them.

    Raises:
        UsageError: If the Hub cannot be reached.
        CheckpointError: If a part is missing or unreadable.
        ConfigError: If `dtype` is not one of the three.
    """

    hub_id = "jacklishufan/OmniFlow-v0.5"

    def __init__(
        self,
        *,
        revision: str | None = None,
        dtype: Literal["auto", "fp32", "bf16"] = "bf16",
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
            path=self.hub_id,
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


class OmniFlowV09(OmniFlowV05):
    """OmniFlow-v0.9 of the authors, from the Hub; options as for v0.5."""

    __doc__ = (OmniFlowV05.__doc__ or "").replace("v0.5", "v0.9")
    hub_id = "jacklishufan/OmniFlow-v0.9"
