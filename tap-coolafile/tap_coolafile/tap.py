"""The tap's face to Singer: command line, configuration, catalog and state, on the SDK's classes.

In go `--config`, `--catalog` and `--state`, out come Singer messages on standard output, or one line that says why
not. Exit code 0 when all was accounted for, 130 or 143 after a signal, 1 for anything else.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import traceback
import typing as t
from pathlib import Path

from dotenv import find_dotenv, load_dotenv
from singer_sdk import Tap
from singer_sdk.exceptions import ConfigValidationError
from singer_sdk.helpers._classproperty import classproperty
from singer_sdk.helpers._util import load_json
from singer_sdk.helpers.capabilities import PluginCapabilities, TapCapabilities
from singer_sdk.plugin_base import _ConfigInput
from singer_sdk.tap_base import CliTestOptionValue
from typing_extensions import override

from tap_coolafile import configuration, places, settings, uris
from tap_coolafile.exceptions import SettingError, StateError, StoppedError, TapError
from tap_coolafile.mapping import Mapped, mistake
from tap_coolafile.messages import MessageWriter
from tap_coolafile.replication import with_replication_methods
from tap_coolafile.selection import Shard, patterns_of
from tap_coolafile.stopping import StopFlag
from tap_coolafile.stream import EventStream

if t.TYPE_CHECKING:
    import click

# Their debug lines quote headers, signatures and signed URLs; urllib3 quotes a URL in a warning too, and the SDK's
# mapper what a filter gives.
_TALKATIVE = (
    "botocore", "boto3", "s3transfer", "urllib3", "requests", "smart_open", "google", "azure", "msal", "paramiko",
    "singer_sdk.mapper",
)  # fmt: skip


class TapCoolaFile(Tap):
    """Singer tap for CoolaData event files: newline-delimited flat JSON in S3 or behind any URI."""

    name = "tap-coolafile"
    config_jsonschema: t.ClassVar[dict[str, t.Any]] = settings.CONFIG_SCHEMA
    dynamic_catalog = True
    message_writer_class = MessageWriter
    capabilities: t.ClassVar[list[t.Any]] = [
        TapCapabilities.CATALOG,
        TapCapabilities.STATE,
        TapCapabilities.DISCOVER,
        TapCapabilities.ACTIVATE_VERSION,
        PluginCapabilities.ABOUT,
        PluginCapabilities.BATCH,
        PluginCapabilities.STREAM_MAPS,
        PluginCapabilities.FLATTENING,
        PluginCapabilities.STRUCTURED_LOGGING,
    ]

    def __init__(self, *args: t.Any, catalog: t.Any = None, **kwargs: t.Any) -> None:
        """Take what the SDK takes; see `replication.py` for what is read of a catalog besides."""
        super().__init__(*args, catalog=with_replication_methods(catalog), **kwargs)

    explains_failures = False
    """Set by the command line: a failure is kept in `failure` and told in one line, not raised through the SDK."""

    failure: Exception | None = None

    @functools.cached_property
    def settings(self) -> configuration.Settings:
        """The checked configuration."""
        return configuration.load(self.config)

    @functools.cached_property
    def patterns(self) -> list[uris.Pattern]:
        """The entries of `uris`."""
        return patterns_of(self.settings.uris, uris.parse, compressed=self.settings.allow_compressed)

    @functools.cached_property
    def shard(self) -> Shard | None:
        """Which share of the files this run reads; None for all of them."""
        return Shard.of(self.settings, os.environ)

    @functools.cached_property
    def stop(self) -> StopFlag:
        """The flag that a signal sets; installed by the command line alone."""
        return StopFlag()

    @property
    def writer(self) -> MessageWriter:
        """The writer of all messages."""
        return t.cast("MessageWriter", self.message_writer)

    @override
    def discover_streams(self) -> t.Sequence[EventStream]:
        return [EventStream(self)]

    @override
    def load_state(self, state: dict[str, t.Any]) -> None:
        _check_state(state, self.settings.stream_name)
        super().load_state(state)
        # The first message of a run is a STATE, and the SDK writes none that is empty.
        mine = self.state.setdefault("bookmarks", {}).setdefault(self.settings.stream_name, {})
        places.load(mine, str(self.shard or ""))
        mine.setdefault("version", places.VERSION)

    # Configuration

    @classproperty
    def _env_var_config(cls) -> dict[str, t.Any]:  # noqa: N805 - the SDK's classproperty
        load_dotenv(find_dotenv(usecwd=True))
        schema = cls.config_jsonschema
        cls.append_builtin_config(schema)
        return settings.from_environment(schema)

    @override
    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        self._config = settings.normalise(self._config)
        schema = self.config_jsonschema
        self.append_builtin_config(schema)
        problems = settings.problems(self._config, schema)
        if problems and raise_errors:
            msg = "Config validation failed"
            raise ConfigValidationError(msg, errors=problems, schema=schema)
        if not problems:
            _ = self.settings
        return problems

    @override
    def setup_mapper(self) -> None:
        catalog = self.catalog  # reads files perhaps, whose failures are not the mapper's
        try:
            super().setup_mapper()
        except Exception as error:  # noqa: BLE001 - as in the SDK, which has an exception for every mistake
            name = self.settings.stream_name
            raise mistake(error, Mapped(self.config, name, catalog[name].schema.to_dict())) from None

    @override
    def _setup_signal_handlers(self) -> None:
        """Leave signals alone: the command line installs a flag, and the SDK's handlers exit 0 with rows unwritten."""

    # Command line

    @classmethod
    @override
    def invoke(  # type: ignore[override]  # the SDK's own Tap overrides it in the same incompatible way
        cls,
        *,
        about: bool = False,
        about_format: str | None = None,
        config: _ConfigInput | None = None,
        state: t.IO[str] | None = None,
        catalog: t.IO[str] | None = None,
    ) -> None:
        if about:
            cls.print_about(about_format)
            return
        cls.print_version(print_fn=cls.logger.info)

        def sync(stop: StopFlag) -> None:
            tap = cls._opened(
                config,
                stop,
                state=_object_of("--state", state),
                catalog=_object_of("--catalog", catalog),
            )
            for stream in tap.streams.values():
                t.cast("EventStream", stream).await_rows()
            tap.setup_mapper()
            tap.sync_all()
            if tap.failure is not None:
                raise tap.failure

        sys.exit(cls._guarded(sync))

    @classmethod
    @override
    def cb_config(cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]) -> _ConfigInput:
        for path in value:
            if path != "ENV" and not _is_object(path):
                shown = "the value given" if "{" in path else path  # a configuration itself may hold the keys
                cls.logger.error("--config: expected ENV or a file with a JSON object, but %s is none", shown)
                ctx.exit(1)
        return super().cb_config(ctx, param, value)

    @classmethod
    @override
    def cb_discover(cls, ctx: click.Context, param: click.Option, value: bool) -> None:
        if value:
            ctx.exit(cls._guarded(lambda stop: _discover(cls._opened(ctx.params.get("config"), stop))))

    @classmethod
    @override
    def cb_test(cls, ctx: click.Context, param: click.Option, value: str) -> None:
        if value == CliTestOptionValue.Disabled.value:
            return

        def test(stop: StopFlag) -> None:
            tap = cls._opened(ctx.params.get("config"), stop)
            tap.setup_mapper()
            if value == CliTestOptionValue.Schema.value:
                tap.write_schemas()
            else:
                tap.run_connection_test()
            tap.writer.flush()
            if tap.failure is not None:
                raise tap.failure

        ctx.exit(cls._guarded(test))

    @classmethod
    def _opened(cls, config: _ConfigInput | None, stop: StopFlag, **given: t.Any) -> TapCoolaFile:
        config = config or _ConfigInput()
        tap = cls(config=config.config, parse_env_config=config.parse_env, setup_mapper=False, **given)
        tap.stop = stop
        tap.explains_failures = True
        return tap

    @classmethod
    def _guarded(cls, work: t.Callable[[StopFlag], None]) -> int:
        """Do `work` with signals turned into a flag; return the exit code, and log what went wrong in one line."""
        _silence(_TALKATIVE)
        stop = StopFlag()
        stop.install()
        try:
            work(stop)
        except StoppedError:
            cls.logger.info("Stopped by a signal; what was written is in the state")
        except (TapError, ConfigValidationError) as failure:
            for line in getattr(failure, "errors", None) or [failure]:
                cls.logger.error("%s", line)  # noqa: TRY400 - one line, no traceback
            return 1
        except BrokenPipeError:
            cls.logger.error("The reader of standard output went away; the rest was not written")  # noqa: TRY400 - as above
            # Else the interpreter flushes once more on its way out, fails again, and exits 120.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except Exception as failure:  # noqa: BLE001 - whatever it is, its words may quote an event
            place = traceback.extract_tb(failure.__traceback__)[-1]
            cls.logger.error("%s in %s line %s", type(failure).__name__, place.filename, place.lineno)  # noqa: TRY400 - as above
            return 1
        return stop.exit_code if stop.is_set() else 0


def _silence(libraries: t.Collection[str]) -> None:
    """Let client libraries log what is critical alone, also by loggers that a logging configuration names."""
    for name in (*libraries, *logging.root.manager.loggerDict):
        if any(name == library or name.startswith(f"{library}.") for library in libraries):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _discover(tap: TapCoolaFile) -> None:
    tap.run_discovery()


def _is_object(path: str) -> bool:
    try:
        return isinstance(load_json(Path(path).read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False


def _check_state(state: dict[str, t.Any], stream: str) -> None:
    for wrapping in ("singer_state", "value"):
        if wrapping in state and "bookmarks" not in state:
            msg = f"state is wrapped: pass what stands under its {wrapping!r}, the object that holds the bookmarks"
            raise StateError(msg)
    bookmarks = state.get("bookmarks", {})
    mine = bookmarks.get(stream, {}) if isinstance(bookmarks, dict) else None
    if not isinstance(mine, dict) or not isinstance(mine.get("version", places.VERSION), int):
        msg = "state is damaged: its bookmarks are not what this tap writes; start from an empty state"
        raise StateError(msg)


def _object_of(option: str, file: t.IO[str] | None) -> dict[str, t.Any] | None:
    if file is None:
        return None
    try:
        found = load_json(file.read())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        msg = f"{option}: expected a JSON object in {file.name}; leave the option out to start without"
        raise SettingError(msg)
    return found
