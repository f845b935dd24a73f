"""The server behind the page: a socket on this machine only, and nothing that others could read."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from machinable.errors import InvalidValue, MachinableError, NotAvailable
from machinable.ui.access import ARTIFACT_POLICY, TOKEN, Access
from machinable.ui.catalog import Catalog

if TYPE_CHECKING:
    from machinable.results.storage import Storage
    from machinable.ui.execution import RerunCommand
    from machinable.ui.site import Site

__all__ = ["serve"]

HOST = "127.0.0.1"
GRACE = 2  # seconds that open connections have when the server ends


def serve(storage: Storage, *, port: int, may_edit: bool, rerun: RerunCommand, announce: Callable[[str], None]) -> None:
    """Show a storage until the process is interrupted.

    Args:
        storage: The storage.
        port: The port, 0 for a free one.
        may_edit: Whether tags and notes can be added.
        rerun: Returns the command that runs a trial again, None if there is none.
        announce: Is called with the URL once the server listens.

    Raises:
        NotAvailable: NiceGUI is not installed.
        InvalidValue: The port cannot be used.
    """
    try:
        import nicegui  # noqa: F401 - 1 s, and an extra
        import uvicorn
    except ImportError as error:
        raise NotAvailable("the page needs NiceGUI", todo="Install it: pip install 'machinable-engine[ui]'") from error
    from machinable.ui.site import Site  # imports NiceGUI

    with _listening(port) as listener:
        number = listener.getsockname()[1]
        token = secrets.token_urlsafe(32)
        site = Site(Catalog(storage), may_edit=may_edit, rerun=rerun)
        app = Access(_application(site), token, f"machinable_{number}")
        # The access log would have the token.
        config = uvicorn.Config(app, access_log=False, log_level="warning", timeout_graceful_shutdown=GRACE)
        listener.listen(config.backlog)  # a browser may come before the server has started
        site.read_ahead()
        announce(f"http://{HOST}:{number}/?{TOKEN}={token}")
        try:
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            site.close()


def _listening(port: int) -> socket.socket:
    """Return a socket that is bound to the port on this machine."""
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOST, port))
    except (OSError, OverflowError) as error:
        found.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidValue(
            f"the port {port} cannot be used: {reason}", given=port, todo="Name another one, or leave out --port."
        ) from error
    return found


def _application(site: Site) -> Any:
    from fastapi import FastAPI
    from nicegui import ui

    from machinable.ui.html import style
    from machinable.ui.pages import charts, comparison, execution, executions, failures, trial, trials

    for page in (executions, execution, trials, trial, charts, comparison, failures):
        page.add(site)
    ui.add_css(style(), shared=True)
    application = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    application.get("/artifact/{name}/{uid}/{artifact:path}")(partial(_artifact, site))
    ui.run_with(application, title="machinable", dark=None, tailwind=False, show_welcome_message=False)
    return application


async def _artifact(site: Site, name: str, uid: str, artifact: str) -> Any:
    """Return the content of an artifact: pictures and text to look at, anything else as a file."""
    from fastapi.responses import PlainTextResponse, StreamingResponse

    from machinable.ui.artifacts import content_type, pieces

    try:
        size, content = await site.ask(lambda catalog: pieces(catalog.trial(name, uid), artifact))
    except MachinableError as error:
        return PlainTextResponse(str(error), status_code=404)
    kind = content_type(artifact)
    headers = {"content-length": str(size), "content-security-policy": ARTIFACT_POLICY, "cache-control": "no-store"}
    if kind is None:
        headers["content-disposition"] = "attachment"
    return StreamingResponse(content, media_type=kind or "application/octet-stream", headers=headers)
