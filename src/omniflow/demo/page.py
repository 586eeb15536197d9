"""The page: what is given on the left, what is made on the right."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from omniflow.demo.action import making_action
from omniflow.demo.models import OfferedModels
from omniflow.errors import UsageError

MODALITIES = (("Text", "text"), ("Picture", "image"), ("Sound", "audio"))

#: Files of visitors older than this are removed, looked for as often.
_KEPT_S = 3600

_INTRODUCTION = (
    "# OmniFlow\n"
    "Give a text, a picture, a sound, any of them or nothing, and choose what to make of it."
)


def import_gradio() -> Any:
    """Gradio, told to ask nobody for anything.

    Raises:
        UsageError: If it is not installed.
    """
    # Read when it is imported.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the page needs the package {error.name}, which is not installed",
            notes=['install it with: pip install "omniflow-zoo[demo]"'],
        ) from error
    return gradio


def build_page(models: OfferedModels, files: Path) -> Any:
    """The page, not served yet.

    Args:
        models: The models that it offers.
        files: A folder of its own for sounds that are on their way to a visitor.

    Raises:
        UsageError: If gradio is not installed.
    """
    gr = import_gradio()
    cleaning = (_KEPT_S, _KEPT_S)
    with gr.Blocks(title="OmniFlow", analytics_enabled=False, delete_cache=cleaning) as page:
        gr.Markdown(_INTRODUCTION)
        with gr.Row():
            with gr.Column():
                given = _given(gr, models)
            with gr.Column():
                wanted = _wanted(gr)
                button = gr.Button("Make", variant="primary", elem_id="make")
                outputs = _outputs(gr)
        button.click(making_action(gr, models, files), [*given, *wanted], outputs, api_name=False)
    # A model serves one visitor at a time; the others wait.
    page.queue(default_concurrency_limit=1)
    return page


def _given(gr: Any, models: OfferedModels) -> list[Any]:
    """The model, and what it is given."""
    return [
        gr.Dropdown(models.names, value=models.names[0], label="Model"),
        gr.Textbox(label="Given text", elem_id="given-text"),
        gr.Image(
            label="Given picture",
            type="filepath",
            sources=["upload", "clipboard"],
            height=240,
            elem_id="given-image",
        ),
        gr.Audio(
            label="Given sound",
            type="filepath",
            sources=["upload", "microphone"],
            elem_id="given-audio",
        ),
    ]


def _wanted(gr: Any) -> list[Any]:
    """What is to be made, and how."""
    made = gr.CheckboxGroup(list(MODALITIES), value=["image"], label="Make", elem_id="made")
    with gr.Row():
        seed = gr.Number(label="Seed", value=0, precision=0, minimum=0)
        steps = gr.Slider(1, 100, value=28, step=1, label="Steps")
    is_suggested = gr.Checkbox(True, label="Guidance as the model suggests")
    guidance = gr.Slider(1, 15, value=4, step=0.5, label="Guidance (1 is none)", visible=False)
    is_suggested.change(
        lambda suggested: gr.Slider(visible=not suggested), is_suggested, guidance, api_name=False
    )
    return [made, seed, steps, is_suggested, guidance]


def _outputs(gr: Any) -> list[Any]:
    """What was made, and a line about it. Their other buttons would share it with a server."""
    return [
        gr.Textbox(label="Text", visible=False, interactive=False, elem_id="made-text"),
        gr.Image(
            label="Picture",
            format="png",
            height=320,
            interactive=False,
            buttons=["download", "fullscreen"],
            elem_id="made-image",
        ),
        gr.Audio(
            label="Sound",
            visible=False,
            interactive=False,
            buttons=["download"],
            elem_id="made-audio",
        ),
        gr.Markdown(elem_id="told"),
    ]
