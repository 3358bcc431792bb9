"""What can go wrong, and what each kind means for the run.

TargetError                 stops the run: exit 1, one line, state where it is true
├── SettingsError           ... before anything is read
├── InputError              ... the input is not Singer
├── DeliveryError           ... the endpoint, the key or the answers: nothing more can be delivered
├── RejectsError            ... a refused record could not be kept
├── JournalError            ... what was acknowledged could not be noted
└── RejectLimitError        ... a record was refused and `on_reject` is `fail`
Interrupted                 stops the run in order: exit 130 or 143
Rejected                    refuses one record, which is kept with its reason; the run goes on
"""

from __future__ import annotations


class TargetError(Exception):
    """Stops the run; its text is the one line that the user reads."""


class SettingsError(TargetError):
    """A setting that cannot be used."""


class InputError(TargetError):
    """A line of the input that is no Singer message; never quotes the line."""


class DeliveryError(TargetError):
    """Nothing more can be delivered: endpoint, key, certificate, or retries used up."""


class RejectsError(TargetError):
    """The rejects file cannot be written."""


class JournalError(TargetError):
    """The journal cannot be written."""


class RejectLimitError(TargetError):
    """A record was refused, and the settings say to stop there."""


class Interrupted(BaseException):
    """A signal asked for the end of the run.

    Args:
        signum: the signal's number; the exit code is 128 more.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class Rejected(Exception):  # noqa: N818 - it is no fault of the program's, but a verdict on one record
    """One record that cannot become an event.

    Args:
        reason: a snake_case word, from `events.REASONS`.
        detail: a sentence for the rejects file; may hold event content, so it is never logged.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
