"""Secrets out of every log line.

In: secrets. After `hide`, no log record made by anyone in this process holds one of them: not in its message, its
arguments or a traceback. urllib3, for one, logs the path of each request at debug level, and the app key is in it.
"""

from __future__ import annotations

import logging
import traceback
import typing as t

MASK = "***"
MIN_LENGTH = 8  # CoolaData's keys have 32 characters


class _Redactor:
    """Makes log records, masked."""

    def __init__(self) -> None:
        self.secrets: set[str] = set()
        self._make = logging.getLogRecordFactory()

    def __call__(self, *args: t.Any, **kwargs: t.Any) -> logging.LogRecord:
        record = self._make(*args, **kwargs)
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # a library's own slip, which logging itself reports
            return record
        masked = self._mask(message)
        if masked != message:
            record.msg, record.args = masked, ()
        if record.exc_info and record.exc_info[0]:
            text = "".join(traceback.format_exception(*record.exc_info))
            if self._mask(text) != text:
                record.exc_info, record.exc_text = None, self._mask(text)
        if record.stack_info:
            record.stack_info = self._mask(record.stack_info)
        return record

    def _mask(self, text: str) -> str:
        for secret in self.secrets:
            # A short one would be found inside other words; a URL is where it stands.
            edge = "" if len(secret) >= MIN_LENGTH else "/"
            text = text.replace(f"{edge}{secret}{edge}", f"{edge}{MASK}{edge}")
        return text


_redactor = _Redactor()


def hide(secret: str) -> None:
    """Mask a secret in every log record from now on."""
    if secret:
        _redactor.secrets.add(secret)
        logging.setLogRecordFactory(_redactor)
