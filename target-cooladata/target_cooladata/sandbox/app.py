"""The command `cooladata-sandbox`: `serve` answers as CoolaData would, `summary` counts what was stored.

In: options. Out: the line `listening on http://127.0.0.1:N` once it answers, or the summary as JSON. Refuses, in one
line and with exit code 1, a database that cannot be used and a port that is taken.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
import typing as t
from pathlib import Path

import click
import msgspec
from aiohttp import web

from target_cooladata.sandbox.ingest import BodyRules
from target_cooladata.sandbox.server import Sandbox, Settings
from target_cooladata.sandbox.store import Store, StoreError
from target_cooladata.sandbox.validity import MAX_EVENT_NAMES, Rules
from target_cooladata.sandbox.writer import Writer

_HOST = "127.0.0.1"
_STOP_SECONDS = 2
_DB = click.option(
    "--db",
    "path",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="SQLite file that holds the events.",
)


@click.group()
def main() -> None:
    """Stand in for CoolaData on this machine, to try out and test what sends events to it."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")


@main.command()
@_DB
def summary(path: Path) -> None:
    """Print what the database holds, as JSON. A server may be running on it."""
    try:
        store = Store.open_existing(path)
        try:
            store.settle(time.time_ns() // 1_000_000)
            counts = store.summary()
        finally:
            store.close()
    except StoreError as error:
        raise click.ClickException(str(error)) from error
    click.echo(msgspec.json.format(msgspec.json.encode(counts), indent=2).decode())


@main.command()
@_DB
@click.option(
    "--port", required=True, type=click.IntRange(0, 65535), help="Port on 127.0.0.1; 0 picks a free one."
)
@click.option(
    "--app-key", "app_keys", multiple=True, help="A known app key, repeatable. Without: any key is known."
)
@click.option("--past-days", type=click.FloatRange(min=0), help="Oldest event time accepted. Without: any.")
@click.option(
    "--future-hours", type=click.FloatRange(min=0), help="Latest event time accepted. Without: any."
)
@click.option("--schema-mode", type=click.Choice(["learn", "locked"]), default="learn", show_default=True)
@click.option(
    "--stop-with-stdin", is_flag=True, help="End when standard input does, for a parent process to hold."
)
def serve(
    path: Path, port: int, app_keys: tuple[str, ...], *, stop_with_stdin: bool, **options: t.Any
) -> None:
    """Answer on 127.0.0.1 as CoolaData would, storing into the database. Ctrl-C ends it."""
    rules = Rules(**options)
    settings = Settings(app_keys=frozenset(app_keys), rules=rules)
    try:
        writer = Writer(path, rules)
    except StoreError as error:
        raise click.ClickException(str(error)) from error
    try:
        asyncio.run(_serve(path, port, writer, settings, stop_with_stdin=stop_with_stdin))
    except OSError as error:
        msg = f"port {port} cannot be used: {error.strerror}"
        raise click.ClickException(msg) from error
    finally:
        writer.close()


async def _serve(path: Path, port: int, writer: Writer, settings: Settings, *, stop_with_stdin: bool) -> None:
    sandbox = Sandbox(path, writer, settings)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, sandbox.stopping.set)
    if stop_with_stdin:
        # Ctrl-C reaches every process of the terminal; the parent still needs us to finish its last calls.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_watch_stdin, args=(loop, sandbox.stopping), daemon=True).start()
    else:
        loop.add_signal_handler(signal.SIGINT, sandbox.stopping.set)
    runner = web.AppRunner(sandbox.app(), access_log=None, shutdown_timeout=_STOP_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, _HOST, port).start()
        click.echo(f"listening on http://{_HOST}:{runner.addresses[0][1]}")
        await sandbox.stopping.wait()
    finally:
        await runner.cleanup()


def _watch_stdin(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    """Wait for the end of standard input: the operating system closes it when the parent dies, in whatever way."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    loop.call_soon_threadsafe(stopping.set)
