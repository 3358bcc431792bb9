"""Connections to one SFTP server: in go `sftp_*` settings and a URI, out come signed-in clients and answers to calls.

The server's host key must stand in a known_hosts file: who else answers is refused, and gets neither password nor rows.
A call on a connection that drops is made again on a new one; a server that answered before and is away is waited for.
"""

from __future__ import annotations

import contextlib
import threading
import time
import typing as t
import urllib.parse
from pathlib import Path, PurePosixPath

from tap_coolafile.exceptions import SettingError, StorageError
from tap_coolafile.uris import parse

try:
    import paramiko
except ImportError:
    missing = "sftp:// needs paramiko: pip install 'tap-coolafile[sftp]'"
    raise SettingError(missing) from None

if t.TYPE_CHECKING:
    from tap_coolafile.configuration import Settings
    from tap_coolafile.uris import Pattern

ATTEMPTS = 5
BROKEN = (paramiko.SSHException, OSError, EOFError)
_PAUSE_S = 0.2
_PATIENCE_S = 60
_REFUSED = (paramiko.AuthenticationException, paramiko.BadHostKeyException, FileNotFoundError)
_ANSWERED = (FileNotFoundError, PermissionError)

_Answer = t.TypeVar("_Answer")


class Connections:
    """Signed-in connections to the server of `pattern`, each for one thread at a time."""

    def __init__(self, pattern: Pattern, settings: Settings) -> None:
        self._pattern = pattern
        self._settings = settings
        self._signing_in = threading.Lock()
        self._idle: list[paramiko.SFTPClient] = []
        self._known = False

    def borrow(self) -> paramiko.SFTPClient:
        """Hand out a connection for one thread alone: paramiko mixes up answers that several threads wait for."""
        with self._signing_in:  # one at a time, as servers drop those who sign in by the dozen
            return self._idle.pop() if self._idle else self._connected()

    def give_back(self, sftp: paramiko.SFTPClient) -> None:
        """Take back a connection in working order."""
        with self._signing_in:
            self._idle.append(sftp)

    def replace(self, dropped: paramiko.SFTPClient) -> paramiko.SFTPClient:
        """Hand out a new connection for one that dropped; what lay idle beside it has probably dropped too."""
        with self._signing_in:
            for sftp in (dropped, *self._idle):
                _close(sftp)
            self._idle.clear()
            return self._connected()

    def _connected(self) -> paramiko.SFTPClient:
        """Sign in to the server.

        Raises:
            StorageError: it cannot be reached, is not the one known, or refuses the user.
        """
        until = time.monotonic() + (_PATIENCE_S if self._known else 0)
        while True:
            client = paramiko.SSHClient()
            client.set_missing_host_key_policy(paramiko.RejectPolicy())
            try:
                sftp = self._signed_in(client)
            except Exception as error:  # noqa: BLE001 - paramiko raises many kinds, of which each closes the connection
                client.close()
                if isinstance(error, _REFUSED) or time.monotonic() >= until:
                    msg = f"{self._pattern.place}: {_why(error, self._settings)}"
                    raise StorageError(msg) from None
                time.sleep(_PAUSE_S)
            else:
                self._known = True
                return sftp

    def _signed_in(self, client: paramiko.SSHClient) -> paramiko.SFTPClient:
        parts, given = urllib.parse.urlsplit(self._pattern.uri), self._settings
        client.load_host_keys(str(Path(given.sftp_known_hosts_path).expanduser()))
        client.connect(
            parts.hostname or "",
            parts.port or 22,
            username=urllib.parse.unquote(parts.username) if parts.username else None,
            password=given.sftp_password or (urllib.parse.unquote(parts.password) if parts.password else None),
            key_filename=given.sftp_private_key_path,
            passphrase=given.sftp_private_key_passphrase,
            timeout=given.request_timeout_seconds,
            allow_agent=not given.sftp_private_key_path,
            look_for_keys=not given.sftp_private_key_path,
        )
        sftp = client.open_sftp()
        t.cast("paramiko.Channel", sftp.get_channel()).settimeout(given.request_timeout_seconds)
        return sftp


class Line:
    """One connection, borrowed until it is closed, and made anew whenever it drops."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._sftp = connections.borrow()

    def ask(self, call: t.Callable[[paramiko.SFTPClient], _Answer]) -> _Answer:
        """Make a call, again on a new connection if it drops.

        Raises:
            FileNotFoundError: the server's answer.
            PermissionError: the server's answer.
            SSHException: the connection dropped again and again; or an OSError or EOFError.
            StorageError: the server is away for longer than a minute, or lets nobody in any more.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return call(self._sftp)
            except _ANSWERED:
                raise
            except BROKEN:
                if attempt == ATTEMPTS:
                    raise
                time.sleep(min(_PAUSE_S * 2**attempt, 5))
                self._sftp = self._connections.replace(self._sftp)
        raise AssertionError  # pragma: no cover - the loop returns or raises

    def close(self) -> None:
        """Let the connection serve others."""
        self._connections.give_back(self._sftp)


def writer(uri: str, settings: Settings) -> t.Callable[[str, bytes], None]:
    """Return what writes a file below `uri`, for its owner alone, and the folders it lies in; see `sources.writer`.

    Raises:
        StorageError: as `Connections`.
    """
    line = Line(Connections(parse(uri), settings))
    return lambda uri, data: line.ask(lambda sftp: _write(sftp, parse(uri).path, data))


def _write(sftp: paramiko.SFTPClient, path: str, data: bytes) -> None:
    for folder in reversed(PurePosixPath(path).parents):
        try:
            sftp.stat(str(folder))
        except FileNotFoundError:
            sftp.mkdir(str(folder), 0o700)
    with sftp.open(path, "wb") as file:
        file.chmod(0o600)
        file.write(data)


def quiet(file: t.Any) -> t.Any:
    """Keep paramiko's thread that asks for pieces from printing a traceback: who reads them finds the same break."""
    asking = file._prefetch_thread  # noqa: SLF001 - paramiko has no public way to read ahead without its thread

    def asking_quietly(*pieces: t.Any) -> None:
        with contextlib.suppress(*BROKEN):
            asking(*pieces)

    file._prefetch_thread = asking_quietly  # noqa: SLF001 - as above
    return file


def _close(sftp: paramiko.SFTPClient) -> None:
    transport = t.cast("paramiko.Channel", sftp.get_channel()).get_transport()
    transport.close()


def _why(error: Exception, settings: Settings) -> str:
    known = settings.sftp_known_hosts_path
    if isinstance(error, paramiko.BadHostKeyException):
        return f"the server shows another host key than {known} has for it, so it may be an impostor; nothing was sent"
    if isinstance(error, paramiko.AuthenticationException):
        return "the server refuses the user; check the user in uris, sftp_password and sftp_private_key_path"
    if isinstance(error, FileNotFoundError) and str(error.filename) == str(Path(known).expanduser()):
        return f"{known} does not exist, so the server cannot be told from an impostor; check sftp_known_hosts_path"
    if isinstance(error, paramiko.SSHException) and "not found in known_hosts" in str(error):
        return f"the server's host key is not in {known}; add it with ssh-keyscan, or check sftp_known_hosts_path"
    return f"signing in failed ({type(error).__name__}); check uris and the sftp_* settings"
