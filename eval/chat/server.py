"""Serve the page on this machine alone, with nothing fetched from anywhere else."""

from __future__ import annotations

import base64
import hashlib
import re

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eval.chat.model_process import ModelProcess
from eval.chat.page import TEMPLATES, Page
from eval.chat.session import Session
from recipes.runner.core.address import LOCAL

# Gradio's page asks a CDN for a script and warms up connections to a font server: cut out.
_FOREIGN = re.compile(
    r"""<script[^>]*\ssrc="https?://[^>]*>\s*</script>|<link[^>]*\shref="https?://[^>]*>
    |<meta[^>]*\scontent="https?://[^>]*>""",
    re.VERBOSE,
)
_INLINE_SCRIPT = re.compile(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL)
_SYSTEM_FONTS = ("ui-sans-serif", "system-ui", "sans-serif")
_FIXED_FONTS = ("ui-monospace", "Consolas", "monospace")


class OwnContentOnly:
    """Middleware: nothing foreign in a page, and a policy that keeps it so.

    Scripts run only when they stood in the page that the server sent, so text that slipped into
    the page as markup could still run nothing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on as it is, but for HTML."""
        start: Message | None = None
        body = b""

        async def rewrite(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                kinds = [v for k, v in message["headers"] if k.lower() == b"content-type"]
                if any(kind.startswith(b"text/html") for kind in kinds):
                    start = message
                    return
            if start is None or message["type"] != "http.response.body":
                await send(message)
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            page, headers = own_content_only(body.decode("utf-8"))
            kept = [(k, v) for k, v in start["headers"] if k.lower() != b"content-length"]
            await send({**start, "headers": [*kept, *headers]})
            await send({"type": "http.response.body", "body": page})

        await self.app(scope, receive, rewrite if scope["type"] == "http" else send)


def own_content_only(page: str) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """A page without foreign content, and its headers."""
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    page = _FOREIGN.sub("", page).replace("</head>", f"<script>{script}</script></head>", 1)
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()}'"
        for inline in _INLINE_SCRIPT.findall(page)
    )
    policy = (
        f"default-src 'self'; script-src 'self' 'unsafe-eval' {hashes}; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        "connect-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; "
        "frame-ancestors 'none'"
    )
    raw = page.encode()
    return raw, [
        (b"content-length", str(len(raw)).encode()),
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
    ]


def make_app(session: Session, model: ModelProcess, host: str, port: int) -> FastAPI:
    """The page as an ASGI application."""
    app = FastAPI(openapi_url=None)
    # A foreign site whose name points here gets nothing; asked for by HOST, any name will do.
    names = list(LOCAL) if host in LOCAL else ["*"]
    app.add_middleware(OwnContentOnly)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=names)
    theme = gr.themes.Soft(
        primary_hue="teal",
        neutral_hue="slate",
        font=_SYSTEM_FONTS,
        font_mono=_FIXED_FONTS,
    )
    page = Page(session, model).build()
    mounted = gr.mount_gradio_app(
        app,
        page,
        path="/",
        server_name=host,
        server_port=port,
        footer_links=[],
        show_error=True,
        max_file_size=1,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme,
        css_paths=TEMPLATES / "page.css",
    )
    # A connection that each open page would hold, of the six that a browser has for a server: with
    # it the fifth tab waits for ever. What it is for, noticing a closed page, its answers do too.
    page.config["connect_heartbeat"] = False
    return mounted


def serve(session: Session, model: ModelProcess, host: str, port: int) -> int:
    """Serve until Ctrl-C; returns the exit code."""
    app = make_app(session, model, host, port)
    config = uvicorn.Config(app, host=host, port=port, log_level="warning", access_log=False)
    print(f"chat: http://{f'[{host}]' if ':' in host else host}:{port}  (Ctrl-C ends it)")
    uvicorn.Server(config).run()
    return 0
