"""One object behind a URI, as a whole and within a bound.

In: its content, and a URI that smart_open can write. Out: the object, durable. Refused, in a few words that hold no
secret: a storage that does not take it, or not in time. What a storage's own client does in its bad hours (waiting,
trying again, finalizing what it has given up on) happens in a thread that nobody waits for.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
import typing as t

MAX_SECONDS = 60.0
PATIENCE_SECONDS = 2.0  # once the run is to end
MEMORY_BYTES = 1 << 20  # larger content is kept on disk until it is sent
_POLL_SECONDS = 0.1
_CONNECT_SECONDS = 5
_ANSWER_SECONDS = 20
_TRIES = 3
# Their debug lines quote URIs with all that is in them, headers and signatures.
_TALKATIVE = ("smart_open", "boto3", "botocore", "s3transfer", "google", "azure", "paramiko")


class UploadError(Exception):
    """The object is not there, as far as is known; says why."""


def spool() -> t.IO[bytes]:
    """Make a file for content that is to be uploaded; it has no name, and vanishes with the process."""
    return t.cast("t.IO[bytes]", tempfile.SpooledTemporaryFile(MEMORY_BYTES))


def upload(content: t.IO[bytes], place: str, is_hurried: t.Callable[[], bool]) -> None:
    """Write an object.

    Args:
        content: a file, read from its start, and closed whenever that has come to an end.
        place: the URI.
        is_hurried: whether the run is to end soon.

    Raises:
        UploadError: it is not written.
    """
    import smart_open  # noqa: F401, PLC0415 - half a second, for those who need it, and not in the time of an upload

    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    words: list[str] = []
    done = threading.Event()

    def work() -> None:
        try:
            with content:
                _write(content, place)
        except Exception as error:  # noqa: BLE001 - smart_open raises what each storage's client raises
            words.append(_words(error))
        done.set()

    threading.Thread(target=work, name="upload", daemon=True).start()
    started, deadline = time.monotonic(), time.monotonic() + MAX_SECONDS
    while not done.wait(_POLL_SECONDS):
        now = time.monotonic()
        if is_hurried():
            deadline = min(deadline, now + PATIENCE_SECONDS)
        if now >= deadline:
            msg = f"no answer for {now - started:.0f} s"
            raise UploadError(msg)
    if words:
        raise UploadError(words[0])


def _write(content: t.IO[bytes], place: str) -> None:
    import smart_open  # noqa: PLC0415 - as above

    params = _s3_params() if place.startswith(("s3://", "s3a://", "s3n://")) else {}
    content.seek(0)
    with smart_open.open(place, "wb", compression="disable", transport_params=params) as handle:
        shutil.copyfileobj(content, handle)


def _s3_params() -> dict[str, t.Any]:
    """One call for one object, and an end to waiting: smart_open's own retries take a minute and log tracebacks."""
    from botocore.config import Config  # noqa: PLC0415 - as above

    retries = {"mode": "standard", "total_max_attempts": _TRIES}
    config = Config(connect_timeout=_CONNECT_SECONDS, read_timeout=_ANSWER_SECONDS, retries=retries)
    return {"multipart_upload": False, "writebuffer": spool(), "client_kwargs": {"S3.Client": {"config": config}}}


def _words(error: BaseException) -> str:
    """What went wrong, without the texts of other people's exceptions, which may hold URLs and keys."""
    if isinstance(error, ImportError):
        return "the storage's client is not installed; pip install 'smart-open[all]', or its extra for this storage"
    for cause in (error, error.__cause__):
        answer = getattr(cause, "response", None)  # of botocore's ClientError
        if isinstance(answer, dict) and answer.get("Error", {}).get("Code"):
            return f"the storage answered {answer['Error']['Code']}"
    return error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
