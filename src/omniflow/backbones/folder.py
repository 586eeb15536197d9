"""A model in the published layout that a person names by its place."""

from omniflow.backbones.published import PublishedBackbone


class FolderBackbone(PublishedBackbone):
    """A frozen OmniFlow model in the published layout, from a folder or the Hub."""
