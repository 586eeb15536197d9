"""The page served on this computer, asking no other for anything."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omniflow.demo.models import OfferedModels
from omniflow.demo.page import build_page, import_gradio
from omniflow.errors import UsageError

#: Fonts that a system has; the theme's own come from a server.
_FONTS = ["system-ui", "sans-serif"]
_FONTS_MONO = ["ui-monospace", "monospace"]

#: Pictures of small models are small.
_STYLE = "#made-image img { width: 100%; height: 100%; object-fit: contain; }"

#: Largest file that a visitor may give.
_MOST_BYTES = 50 * 2**20


def check_address(host: str, port: int | None = None) -> None:
    """Look whether a page can be served there, before anything is read.

    Raises:
        UsageError: If the port is taken, or it is no address of this computer.
    """
    try:
        if not host:
            raise OSError("the address is empty")
        [(family, kind, _, _, address), *_] = socket.getaddrinfo(
            host, port or 0, type=socket.SOCK_STREAM
        )
        with socket.socket(family, kind) as tried:
            # As servers do: what an ended one has left for a minute is in nobody's way.
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except OSError as error:
        raise _unservable(host, port, error.strerror or str(error)) from error


def _unservable(host: str, port: int | None, reason: str) -> UsageError:
    return UsageError(
        f"nothing can be served at {host or repr(host)}, port {port or 'from 7860 on'} ({reason})",
        expected="a free port and an address of this computer, such as 127.0.0.1",
    )


@contextmanager
def served(
    models: OfferedModels, *, host: str = "127.0.0.1", port: int | None = None
) -> Iterator[str]:
    """While entered, the page is served; gives its address.

    Args:
        models: The models that it offers.
        host: The address to listen at; other computers reach 0.0.0.0, and have no password to give.
        port: The port; the first free one from 7860 on when None.

    Raises:
        UsageError: If gradio is not installed, or the port is taken or there is none.
    """
    gr = import_gradio()
    check_address(host, port)
    with tempfile.TemporaryDirectory(prefix="omniflow-demo-") as files:
        page = build_page(models, Path(files))
        try:
            _, address, _ = page.launch(
                server_name=host,
                server_port=port,
                share=False,
                inbrowser=False,
                prevent_thread_lock=True,
                quiet=True,
                footer_links=[],
                run_history=False,
                ssr_mode=False,
                mcp_server=False,
                max_file_size=_MOST_BYTES,
                allowed_paths=[files],
                css=_STYLE,
                theme=gr.themes.Default(font=_FONTS, font_mono=_FONTS_MONO),
            )
        except OSError as error:
            raise _unservable(host, port, str(error)) from error
        try:
            yield address
        finally:
            page.close(verbose=False)
