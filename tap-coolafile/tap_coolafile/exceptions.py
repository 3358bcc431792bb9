"""What can go wrong above the level of a row, as one tree; what each leaf does is the word behind it.

A row that breaks a rule raises nothing: it becomes a reject (see rows.py). Every message here is one sentence that a
user reads on one line: what was found, where, what was expected, and which setting changes it. No message ever holds
a secret, a signed query or the content of an event.

TapError
├── SettingError        stops the run, exit 1: a setting cannot be used as given
├── StateError          stops the run, exit 1: the state belongs to another version or another shard
├── StorageError        stops the run, exit 1: the storage refuses or cannot be reached
│   └── MissingFileError    stops the run, exit 1: a literal URI, or a first run's pattern, names nothing
├── BadFileError        the file stays pending, the run goes on (or not: on_bad_file) and exits 1
│   ├── ArchivedFileError   the file is passed over and counted, the run goes on
│   └── BrokenFileError     the same; what was read before the break is whole, and emitted
├── BadRowError         stops the run, exit 1: on_invalid_row is `fail`
├── UnbalancedError     exit 1: the report's equation does not close
└── StoppedError        a signal came: orderly end, exit 130 or 143
"""

from __future__ import annotations


class TapError(Exception):
    """The root: everything the tap itself raises."""


class SettingError(TapError):
    """A setting has a value that cannot be used; the message names the setting."""


class StateError(TapError):
    """The state given was not written by this version, or for this shard, of the tap."""


class StorageError(TapError):
    """A storage denied or dropped a call; the message names the place, the call and the settings to check."""


class MissingFileError(StorageError):
    """A file named literally does not exist, or a first run matched nothing."""


class BadFileError(TapError):
    """A file cannot be loaded as it is; it stays pending and the next run tries it again."""


class ArchivedFileError(BadFileError):
    """A file lies in an archive that the listing did not tell of; a later run looks at it again."""


class BrokenFileError(BadFileError):
    """A compressed file breaks in the middle; the rows before the break are sound."""


class BadRowError(TapError):
    """A row was invalid while `on_invalid_row` is `fail`."""


class UnbalancedError(TapError):
    """The rows read are not the rows accounted for: a defect of the tap, never of the data."""


class StoppedError(TapError):
    """A signal asked the run to end; raised where the loop notices it."""
