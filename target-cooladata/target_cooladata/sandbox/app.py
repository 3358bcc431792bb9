"""The command `cooladata-sandbox`: `serve` answers as CoolaData would, `summary` counts what was stored.

In: options. Out: the line `listening on http://127.0.0.1:N` once it answers, or the summary as JSON. Refuses, in one
line and with exit code 1, a database that cannot be used and a port that is taken.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
import typing as t
from contextlib import suppress
from pathlib import Path

import click
import msgspec
from aiohttp import web

from target_cooladata.sandbox.database import DatabaseError
from target_cooladata.sandbox.ingest import BodyRules
from target_cooladata.sandbox.server import MAX_BODY_BYTES, Sandbox, Settings
from target_cooladata.sandbox.store import Store, ask
from target_cooladata.sandbox.validity import MAX_EVENT_NAMES, Rules
from target_cooladata.sandbox.writer import Writer

_HOST = "127.0.0.1"
_STOP_SECONDS = 1
_STDIN = 0
_BYTES_READ = 4096

_DB = click.option(
    "--db",
    "path",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="SQLite file that holds the events.",
)
_AT_LEAST_0 = click.FloatRange(min=0)
_AT_LEAST_1 = click.IntRange(min=1)


@click.group()
def main() -> None:
    """Stand in for CoolaData on this machine, to try out and to test what sends events to it."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    # They would log requests and queries they cannot read, and those may hold an app key or values of events.
    for library in ("aiohttp", "sqlglot"):
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)


@main.command()
@_DB
def summary(path: Path) -> None:
    """Print what the database holds, as JSON. A server may be running on it."""
    try:
        counts = ask(path, time.time_ns() // 1_000_000, Store.summary)
    except DatabaseError as error:
        raise click.ClickException(str(error)) from error
    click.echo(msgspec.json.format(msgspec.json.encode(counts), indent=2).decode())


@main.command()
@_DB
@click.option("--port", required=True, type=click.IntRange(0, 65535), help="Port on 127.0.0.1; 0: a free one.")
@click.option("--app-key", "app_keys", multiple=True, help="A known app key, repeatable. Without: any is known.")
@click.option("--api-token", "api_tokens", multiple=True, help="A known token of the query API, repeatable.")
@click.option("--past-days", type=_AT_LEAST_0, help="Oldest event time, days before now. Without: any.")
@click.option("--future-hours", type=_AT_LEAST_0, help="Latest event time, hours from now. Without: any.")
@click.option(
    "--schema-mode",
    type=click.Choice(["learn", "locked"]),
    default="learn",
    show_default=True,
    help="What new names do: join the schema; or, in a locked one, spoil the event (event names) or be dropped.",
)
@click.option(
    "--learn-seconds", type=_AT_LEAST_0, default=0, show_default=True, help="How long new names keep events pending."
)
@click.option("--property-quota", type=_AT_LEAST_1, help="How many properties the schema takes. Without: any.")
@click.option(
    "--event-name-quota", type=_AT_LEAST_1, default=MAX_EVENT_NAMES, show_default=True, help="How many event names."
)
@click.option("--strict-numbers", is_flag=True, help="A fraction spoils a property that was first an integer.")
@click.option("--server-time", is_flag=True, help="Ignore event times and use the clock.")
@click.option(
    "--encodings",
    type=click.Choice(["both", "raw", "data"]),
    default="both",
    show_default=True,
    help="Bodies taken: JSON without a field name (raw), or in the form field data.",
)
@click.option("--accept-over-limit", is_flag=True, help="Take calls of more than 300 events.")
@click.option(
    "--bad-body",
    type=click.Choice(["status-false", "400"]),
    default="status-false",
    show_default=True,
    help="What a body that holds no events gets: 200 with status false, or 400.",
)
@click.option(
    "--max-body-bytes", type=_AT_LEAST_1, default=MAX_BODY_BYTES, show_default=True, help="Larger bodies get 413."
)
@click.option("--stop-with-stdin", is_flag=True, help="End when standard input does, and not at Ctrl-C.")
def serve(path: Path, port: int, *, stop_with_stdin: bool, **options: t.Any) -> None:
    """Answer on 127.0.0.1 as CoolaData would, storing into the database. Ctrl-C ends it.

    A parent process gives --stop-with-stdin and a pipe: the pipe closes, and the sandbox ends, when the parent
    does, in whatever way.
    """
    settings = Settings(
        app_keys=frozenset(options.pop("app_keys")),
        api_tokens=frozenset(options.pop("api_tokens")),
        body_rules=BodyRules(options.pop("encodings"), accept_over_limit=options.pop("accept_over_limit")),
        bad_body=options.pop("bad_body"),
        max_body_bytes=options.pop("max_body_bytes"),
    )
    try:
        writer = Writer(path, Rules(**options))
    except DatabaseError as error:
        raise click.ClickException(str(error)) from error
    try:
        asyncio.run(_serve(Sandbox(path, writer, settings), port, stop_with_stdin=stop_with_stdin))
    finally:
        writer.close()


async def _serve(sandbox: Sandbox, port: int, *, stop_with_stdin: bool) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, sandbox.stopping.set)
    if stop_with_stdin:
        # Ctrl-C reaches every process of the terminal, and the parent still needs this one for its last calls.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_watch_stdin, args=(loop, sandbox.stopping), daemon=True).start()
    else:
        loop.add_signal_handler(signal.SIGINT, sandbox.stopping.set)
    runner = web.AppRunner(sandbox.app(), access_log=None, shutdown_timeout=_STOP_SECONDS)
    await runner.setup()
    try:
        await _listen(runner, port)
        click.echo(f"listening on http://{_HOST}:{runner.addresses[0][1]}")
        await sandbox.stopping.wait()
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, port: int) -> None:
    try:
        await web.TCPSite(runner, _HOST, port).start()
    except OSError as error:
        msg = f"port {port} cannot be listened on: {os.strerror(error.errno or 0)}"
        raise click.ClickException(msg) from error


def _watch_stdin(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    """Wait for the end of standard input, which the system closes when the parent dies, however it died."""
    with suppress(OSError):  # it was never open, which is an end too
        while os.read(_STDIN, _BYTES_READ):
            pass
    with suppress(RuntimeError):  # the loop is closed: a signal was faster
        loop.call_soon_threadsafe(stopping.set)
