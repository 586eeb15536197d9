"""Plugin: registers the `adaptive` head."""

from omniflow import hookimpl

OMNIFLOW_API_VERSION = 1


@hookimpl
def omniflow_register(register):
    """Register the head; it is imported when somebody builds it."""
    register(
        kind="head",
        name="adaptive",
        target="omniflow_adaptive_head.head:AdaptiveHead",
        summary="Perceptron modulated by the timestep",
    )
