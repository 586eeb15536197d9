"""Hugging Face: any data set on the Hub, or a folder in one of the layouts that the Hub knows."""

from __future__ import annotations

from omniflow.datasets.hub_dataset import HubDataset


class HuggingFaceDataset(HubDataset):
    """A data set whose columns are named by options."""
