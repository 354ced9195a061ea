"""The web server of the explorer; everything that a page needs is served by it."""

# pyright: reportMissingImports=false
# Panel and Bokeh are an extra (explore), and types are also checked where it is not installed.

import logging
import socket
from typing import Any

import panel as pn

from metalearn.explorer.page import Page, Settings

STYLE = """
body { margin: 0; }
.bk-Row, .bk-Column { max-width: 100%; }
"""


def serve_pages(scenes, settings: Settings, port: int, address: str, open: bool) -> None:
    """Serve pages until the process is interrupted.

    Raises:
      ValueError: the address or the port cannot be used.
    """
    port = _free(address, port)
    pn.config.raw_css.append(STYLE)
    logging.getLogger("bokeh.server.views.ws").setLevel(logging.ERROR)  # it warns of every visitor who leaves

    def visit() -> Any:
        arguments = pn.state.session_args
        query = {name: values[-1].decode("utf-8", "replace") for name, values in arguments.items()}
        found = Page(scenes, query, settings)
        found.canvas.listen(pn.state.curdoc)
        return found.layout

    origins = [f"{host}:{port}" for host in {address, "localhost", "127.0.0.1"}]
    print(
        f"The explorer is at http://{'localhost' if address == '127.0.0.1' else address}:{port}; Ctrl-C stops it.",
        flush=True,
    )
    pn.serve(
        {"/": visit},
        port=port,
        address=address,
        show=open,
        title="metalearn explorer",
        websocket_origin=origins,
        verbose=False,
        threaded=False,
    )


def _free(address, port) -> int:
    """Return the port, or a free one for 0, after checking that it can be used."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((address, port))
            return one.getsockname()[1]
    except OSError as error:
        raise ValueError(
            f"The explorer cannot listen on {address}:{port}: {(error.strerror or str(error)).lower()}. "
            "Choose another port with port=0, or another address."
        ) from error
