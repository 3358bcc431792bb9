"""The Singer face of the target: command line, configuration, stream maps, signals, exit codes.

The SDK's `Target` gives the command line, `--about`, the configuration and the stream maps. Its per-record machinery is
gone around: the reader hands messages to the loader, which sends them.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import traceback
import typing as t
from pathlib import Path

import msgspec
from singer_sdk import Target
from singer_sdk.configuration._dict_config import parse_environment_config
from singer_sdk.exceptions import (
    ConfigValidationError,
    MissingKeyPropertiesError,
    RecordsWithoutSchemaException,
)
from singer_sdk.helpers.capabilities import PluginCapabilities
from singer_sdk.mapper import PluginMapper, RemoveRecordTransform
from singer_sdk.plugin_base import PluginBase, _ConfigInput
from typing_extensions import override

from target_cooladata import configuration, redaction
from target_cooladata import settings as declared
from target_cooladata.client import Client
from target_cooladata.embedded import EmbeddedSandbox
from target_cooladata.exceptions import Interrupted, SettingsError, TargetError
from target_cooladata.loader import Loader
from target_cooladata.reader import MessageReader

if t.TYPE_CHECKING:
    from types import FrameType

    import click

SANDBOX_KEY = "sandbox"  # the embedded sandbox knows every key
_BOOLEANS = {"", "true", "false", "1", "0", "yes", "no", "on", "off"}  # what else there is, the SDK takes for false

_EXPECTED_FAILURES = (TargetError, RecordsWithoutSchemaException, MissingKeyPropertiesError)


class TargetCoolaData(Target):
    """Loads Singer records into CoolaData (Medallia Journey Analytics) as events, through its REST API."""

    name = "target-cooladata"
    config_jsonschema: t.ClassVar[dict[str, t.Any]] = declared.SCHEMA
    capabilities: t.ClassVar[list[t.Any]] = [
        PluginCapabilities.ABOUT,
        PluginCapabilities.STREAM_MAPS,
        PluginCapabilities.FLATTENING,
        PluginCapabilities.BATCH,
        PluginCapabilities.STRUCTURED_LOGGING,
    ]

    def __init__(
        self,
        *,
        config: dict[str, t.Any] | None = None,
        parse_env_config: bool = False,
        validate_config: bool = True,
    ) -> None:
        config = {name: value for name, value in (config or {}).items() if value is not None}
        if parse_env_config:
            self.append_builtin_config(self.config_jsonschema)
            _check_environment(self.config_jsonschema, self._env_var_prefix)
        redaction.hide(str(config.get("app_key") or ""))
        super().__init__(
            config=config,
            parse_env_config=parse_env_config,
            validate_config=validate_config,
            message_reader=MessageReader(t.cast("Loader", None)),
        )
        redaction.hide(str(self.config.get("app_key") or ""))
        self._warn_of_unknown_settings()
        self.settings = configuration.parse(self.config)
        self._sandbox: EmbeddedSandbox | None = None
        logging.getLogger(PluginMapper.__module__).setLevel(
            logging.WARNING
        )  # the others hold what `__filter__` is and gave
        # The mapper takes `__else__` out of the configuration, so what is left there does not tell of it.
        drops_others = self.mapper.default_mapper_type is RemoveRecordTransform
        maps = self.config.get("stream_maps") or self.config.get("flattening_enabled") or drops_others
        self._loader = Loader(
            self.settings,
            connect=self._connect,
            disconnect=self._disconnect,
            mapper=self.mapper if maps else None,
            logger=self.logger,
        )
        self.message_reader = MessageReader(self._loader)
        self.failures: list[str] = []
        self._heed_signals()

    @override
    def process_endofpipe(self) -> None:
        """Deliver what is left; `failures` says afterwards why the run failed nevertheless."""
        try:
            self.failures = self._loader.finish()
        except BaseException as cause:
            self._loader.abandon(cause)
            raise

    @classmethod
    @override
    def append_builtin_config(cls, config_jsonschema: dict[str, t.Any]) -> None:
        """Add the SDK's settings for stream maps and flattening; its others have no meaning here."""
        PluginBase.append_builtin_config.__func__(cls, config_jsonschema)  # type: ignore[attr-defined]  # a classmethod has it

    @override
    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        """Validate as the SDK does, without the values of secrets in the messages."""
        try:
            return super()._validate_config(raise_errors=raise_errors)
        except ConfigValidationError as failure:
            failure.errors = [_without_secret(error) for error in failure.errors]
            raise
        except AttributeError:  # the SDK's own schema of it is no schema
            msg = "stream_maps: `__else__` cannot be used; expected null"
            raise SettingsError(msg) from None

    @override
    def _setup_signal_handlers(self) -> None:
        """Do without the SDK's handlers, which write state ahead of what is delivered and exit 0."""

    def _heed_signals(self) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._handle_termination)
            signal.signal(signal.SIGTERM, self._handle_termination)

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        """Set a flag, nothing else; a second signal changes nothing."""
        if self._loader.signum is None:
            self._loader.signum = signum

    def _connect(self) -> Client:
        if self.settings.sandbox_path is None:
            return Client(self.settings.endpoint_url, self.settings.app_key, self.settings)
        try:
            self._sandbox = EmbeddedSandbox(
                self.settings.sandbox_path, is_hurried=lambda: self._loader.signum is not None
            )
        except TargetError:
            if self._loader.signum is not None:
                raise Interrupted(self._loader.signum) from None
            raise
        return Client(self._sandbox.url, self.settings.app_key or SANDBOX_KEY, self.settings)

    def _disconnect(self) -> None:
        if self._sandbox is not None:
            self._sandbox.stop()
            self._sandbox = None

    def _warn_of_unknown_settings(self) -> None:
        unknown = sorted(set(self.config) - set(self.config_jsonschema["properties"]))
        if unknown:
            self.logger.warning("Settings that are not known and have no effect: %s", ", ".join(unknown))

    # Command line

    @classmethod
    @override
    def invoke(  # type: ignore[override]  # as in the SDK itself, which gives each kind of plugin its own options
        cls,
        *,
        about: bool = False,
        about_format: str | None = None,
        config: _ConfigInput | None = None,
        file_input: t.IO[str] | None = None,
    ) -> None:
        """Run the target; exits with 1 if anything is unaccounted for, with 130 or 143 after a signal."""
        if about:
            cls.print_about(about_format)
            sys.exit(0)
        given = config or _ConfigInput()
        notice = _sandbox_notice(cls, given)
        if notice:
            cls.logger.info(notice)
        cls.print_version(print_fn=cls.logger.info)
        code = cls._run(given, file_input)
        if notice:
            cls.logger.info(notice)
        sys.exit(code)

    @classmethod
    def _run(cls, given: _ConfigInput, file_input: t.IO[str] | None) -> int:
        try:
            target = cls(config=given.config, parse_env_config=given.parse_env)
            target.listen(file_input)
        except Interrupted as interruption:
            cls.logger.warning("Stopped by %s; the next run starts from the last state", interruption)
            return 128 + interruption.signum
        except ConfigValidationError:
            raise  # the SDK's command prints these
        except _EXPECTED_FAILURES as failure:
            failures = [str(failure)]
        except Exception as fault:  # noqa: BLE001 - its text may quote a record, so only its place is told
            place = traceback.extract_tb(fault.__traceback__)[-1]
            failures = [f"internal fault: {type(fault).__name__} in {place.name}, line {place.lineno}"]
        else:
            failures = target.failures
        for sentence in failures:
            cls.logger.error("%s", sentence)
        return 1 if failures else 0

    @classmethod
    @override
    def cb_config(cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]) -> _ConfigInput:
        """Read the files behind `--config`."""
        for path in value:
            if path != "ENV" and not _is_json_file(path):
                shown = "the value given" if "{" in path else path  # a configuration itself may hold the key
                cls.logger.error("--config: expected ENV or a file with a JSON object, but %s is none", shown)
                ctx.exit(1)
        return super().cb_config(ctx, param, value)


def _is_json_file(path: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(Path(path).read_bytes()), dict)
    except (OSError, ValueError):
        return False


def _check_environment(schema: dict[str, t.Any], prefix: str) -> None:
    """Name the variable that cannot be read, where the SDK would raise what Python raises."""
    for name, setting in schema["properties"].items():
        kinds, variable = setting.get("type", ()), f"{prefix}{name.upper()}"
        kind = "true or false" if "boolean" in kinds else "a whole number" if "integer" in kinds else "JSON"
        try:
            parse_environment_config({"properties": {name: setting}}, prefix)
            is_read = "boolean" not in kinds or os.environ.get(variable, "").lower() in _BOOLEANS
        except ValueError:
            is_read = False
        if not is_read:
            msg = f"{name}: expected {kind} in the environment variable {variable}"
            raise SettingsError(msg)


def _without_secret(error: str) -> str:
    for name in declared.SECRETS:
        if f"config['{name}']" in error:
            return f"expected text in config['{name}']"
    where = error.rpartition(" in ")[2]
    # Expressions, and what is given to them, may hold a salt or a key.
    return f"what is expected is not in {where}" if where.startswith("config['stream_map") else error


def _sandbox_notice(cls: type[TargetCoolaData], given: _ConfigInput) -> str | None:
    """What the first and last line of a run into the sandbox say."""
    endpoint = given.config.get("endpoint_url")
    if given.parse_env:
        logging.getLogger(parse_environment_config.__module__).setLevel(logging.WARNING)  # this line is to be the first
        schema = {"properties": {"endpoint_url": cls.config_jsonschema["properties"]["endpoint_url"]}}
        endpoint = parse_environment_config(schema, cls._env_var_prefix).get("endpoint_url", endpoint)
    if not isinstance(endpoint, str) or not endpoint.startswith(declared.SANDBOX_PREFIX):
        return None
    return (
        f"This run loads into the local sandbox {endpoint.removeprefix(declared.SANDBOX_PREFIX)}, not into CoolaData. "
        f"To load into CoolaData, set endpoint_url to {declared.API_URL} and app_key to the project's key "
        "(with Meltano: --environment=production and TARGET_COOLADATA_APP_KEY)."
    )


if __name__ == "__main__":
    TargetCoolaData.cli()
