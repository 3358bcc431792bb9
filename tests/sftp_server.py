"""A real SFTP server: OpenSSH's sshd on loopback, with keys of its own, for the user who runs the tests."""

from __future__ import annotations

import getpass
import socket
import subprocess
import time
import typing as t

if t.TYPE_CHECKING:
    from pathlib import Path

SSHD = "/usr/sbin/sshd"


class SftpServer:
    """One server; `url` names its root for the user, `settings()` lets the tap in."""

    def __init__(self, folder: Path) -> None:
        """Make keys in `folder`, start, and wait until it listens."""
        self.folder = folder
        folder.mkdir(mode=0o700)
        for name, words in (("host", ""), ("user", "sesame"), ("stranger", "")):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", words, "-f", str(folder / name)]
            subprocess.run(command, check=True)
        (folder / "authorized").write_text((folder / "user.pub").read_text())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        options = {
            "ListenAddress": "127.0.0.1", "Port": self.port, "HostKey": folder / "host", "PidFile": "none",
            "AuthorizedKeysFile": folder / "authorized", "StrictModes": "no", "UsePAM": "no",
            "PasswordAuthentication": "no", "PermitRootLogin": "yes", "Subsystem": "sftp internal-sftp",
        }  # fmt: skip
        (folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in options.items()))
        self.know("host")
        self.url = f"sftp://{getpass.getuser()}@127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start, and wait until it listens."""
        subprocess.run(["mkdir", "-p", "/run/sshd"], check=True)
        command = [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert time.monotonic() < end, (self.folder / "log").read_text()
                time.sleep(0.05)
            else:
                return

    def know(self, name: str, *others: int) -> None:
        """Say in the known_hosts file that the server's key is the one of this name, at other ports too."""
        kind, key = (self.folder / f"{name}.pub").read_text().split()[:2]
        lines = [f"[127.0.0.1]:{port} {kind} {key}\n" for port in (self.port, *others)]
        (self.folder / "known_hosts").write_text("".join(lines))

    def settings(self, **more: t.Any) -> dict[str, t.Any]:
        """Return the tap's settings for it."""
        return {
            "sftp_private_key_path": str(self.folder / "user"),
            "sftp_private_key_passphrase": "sesame",
            "sftp_known_hosts_path": str(self.folder / "known_hosts"),
            **more,
        }

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()
