"""The models that the authors of OmniFlow published on the Hub."""

from __future__ import annotations

from typing import Any, Literal

from omniflow.backbones.published import PublishedBackbone


class OmniFlowV05(PublishedBackbone):
    """OmniFlow-v0.5 of the authors: 3.1 billion parameters and a text VAE of 1.6.

    Other options are those of every model in the published layout.

    Args:
        path: Where it is: its Hub id, or a folder or Hub id with a copy of it.
        dtype: Precision of the weights in memory; auto keeps that of the file.
    """

    def __init__(
        self,
        *,
        path: str = "jacklishufan/OmniFlow-v0.5",
        dtype: Literal["auto", "fp32", "bf16"] = "bf16",
        **options: Any,
    ) -> None:
        super().__init__(path=path, dtype=dtype, **options)


class OmniFlowV09(OmniFlowV05):
    """OmniFlow-v0.9 of the authors; sizes and options as for v0.5.

    Args:
        path: Where it is: its Hub id, or a folder or Hub id with a copy of it.
    """

    def __init__(self, *, path: str = "jacklishufan/OmniFlow-v0.9", **options: Any) -> None:
        super().__init__(path=path, **options)
