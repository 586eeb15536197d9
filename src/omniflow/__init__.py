"""OmniFlow: a plugin-based model zoo for the any-to-any rectified-flow transformer.

Everything is imported when first used; `import omniflow` costs next to nothing.
"""

from typing import TYPE_CHECKING

from omniflow.lazy import lazy_exports
from omniflow.version import __version__

if TYPE_CHECKING:
    from omniflow.assembly import build, load
    from omniflow.errors import OmniFlowError
    from omniflow.model import OmniFlowModel
    from omniflow.plugins import hookimpl, list_components
    from omniflow.recipe import Recipe

__all__ = [
    "OmniFlowError",
    "OmniFlowModel",
    "Recipe",
    "__version__",
    "build",
    "hookimpl",
    "list_components",
    "load",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "OmniFlowError": "omniflow.errors",
        "OmniFlowModel": "omniflow.model",
        "Recipe": "omniflow.recipe",
        "build": "omniflow.assembly",
        "hookimpl": "omniflow.plugins",
        "list_components": "omniflow.plugins",
        "load": "omniflow.assembly",
    },
)
