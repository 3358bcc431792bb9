"""URIs as a user writes them: in goes one text, out comes what it names (a file, a prefix, a glob) and what fits it.

A `Pattern` knows its scheme, the place (bucket or host), the literal beginning that narrows a listing, and a matcher.
Its `name` never holds user info or a signature, so it can stand in state, logs and rejects, and a re-signed URL keeps
its identity. Also here: the name rule of CoolaData's S3 page.
"""

from __future__ import annotations

import hashlib
import os
import re
import typing as t
import urllib.parse
from pathlib import Path

import msgspec

from tap_coolafile import paths
from tap_coolafile.exceptions import SettingError

NAME_RULE = "a file's name must end in .json and not contain csv"
"""Seed page of CoolaData: "The file postfix must be .json and not includes csv in the file name." """

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_BUCKETS = {"s3": "s3", "s3a": "s3", "s3n": "s3", "gs": "gs", "gcs": "gs", "azure": "azure"}
_PLACES = {"s3": "bucket", "gs": "bucket", "azure": "container"}
_REMOTE = frozenset({"http", "https", "sftp", "ssh", "scp"})
_SIGNATURE = re.compile(
    r"^(x-amz-|x-goog-|x-oss-|awsaccesskeyid$|googleaccessid$|signature$|expires$|key-pair-id$|policy$|"
    r"sig$|s[vretps]$|srt?$|sip$|spr$|ske$|sks$|skt$|skv$|skoid$|sktid$|saoid$|suoid$|scid$|"
    r"token$|access_token$|auth$|hdnts$|security-token$|st$)",
    re.IGNORECASE,
)


class Pattern(msgspec.Struct, frozen=True):
    """What one entry of `uris` names.

    `kind` is `file`, `prefix` or `glob`. `place` is the bucket, or empty for local files. `path` is the key, or the
    path as in paths.py, decoded, of a file or prefix, or the glob itself. `literal` is what every match begins with.
    `uri` is the text as given, which may hold secrets and goes to the storage alone.
    """

    scheme: str
    kind: str
    place: str
    path: str
    literal: str
    name: str
    uri: str

    @property
    def user(self) -> str:
        """As whom an sftp URI signs in; empty where it names nobody, and for http, where it may be a secret."""
        user, found, _ = self.uri.partition("://")[2].partition("/")[0].rpartition("@")
        return user.partition(":")[0] if found and self.scheme == "sftp" else ""

    def matches(self, path: str) -> bool:
        """Tell whether a key or path in the same place belongs to this entry."""
        if self.kind == "file":
            return path == self.path
        if self.kind == "prefix":
            return path.startswith(self.path)
        return _matcher(self.path).fullmatch(path) is not None

    def matches_object(self, key: str) -> bool:
        """Tell whether an object belongs to this entry; folders, as consoles make them, are keys that end in `/`."""
        return not key.endswith("/") and self.matches(key)

    @property
    def is_flat(self) -> bool:
        """Whether it is a glob that looks into no folder below its literal beginning, so that a listing need not."""
        rest = self.path[len(self.literal) :]
        return self.kind == "glob" and "/" not in rest and "**" not in rest

    def may_match_below(self, folder: str) -> bool:
        """Tell whether a folder in the same place, ending in `/`, can hold what belongs to this entry."""
        if not (folder.startswith(self.literal) or self.literal.startswith(folder)):
            return False
        flat = self.kind == "glob" and "**" not in self.path
        return not flat or folder.count("/") <= self.path.count("/")


def parse(uri: str) -> Pattern:
    """Read one entry of `uris`; relative local paths become absolute.

    Raises:
        SettingError: a glob or prefix where only one file can be named (http and schemes without listing); a bucket,
            host or port that cannot be one; halves of characters.
    """
    found = _SCHEME.match(uri)
    scheme = found.group(1).lower() if found else "file"
    try:
        uri.encode(errors="surrogateescape" if scheme == "file" else "strict")
    except UnicodeEncodeError:
        msg = "uris: a URI is not UTF-8; its bytes may be given percent-encoded where the scheme is not s3"
        raise SettingError(msg) from None
    if scheme == "file":
        return _local(uri)
    if scheme in _BUCKETS:
        return _object(_BUCKETS[scheme], uri)
    _check_host(scheme, uri)
    if scheme in {"sftp", "ssh", "scp"}:
        authority, _, path = uri[len(scheme) + 3 :].partition("/")
        return _listed("sftp", authority.rpartition("@")[2], "/" + urllib.parse.unquote(path), uri)
    return _single(scheme, uri)


def allowed(path: str, *, compressed: bool = False) -> bool:
    """Tell whether the base name of a decoded path obeys the name rule (`.json.gz` too if `compressed`)."""
    base = path.rsplit("/", 1)[-1].lower()
    endings = (".json", ".json.gz") if compressed else (".json",)
    return base.endswith(endings) and "csv" not in base


def redacted(text: str) -> str:
    """Cut user info and query strings out of every URL in `text`, for messages that other libraries wrote."""
    # Up to the last "@": a secret may hold a slash. Better a name cut short than half of a key.
    text = re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s'\"]*@", r"\1", text)
    return re.sub(r"\?[^\s'\")]*=[^\s'\")]*", "?…", text)


def _local(uri: str) -> Pattern:
    text = uri
    if uri[:7].lower() == "file://":
        rest = uri[7:]
        host, slash, path = rest.partition("/")
        if host not in {"", "localhost"}:
            msg = f"uris: {uri!r} names another host; local files are file:///path"
            raise SettingError(msg)
        text = paths.path_of(paths.decoded(slash + path))
    text = str(Path(text).expanduser()) + ("/" if text.endswith("/") else "")
    absolute = os.path.abspath(text) + ("/" if text.endswith("/") or Path(text).is_dir() else "")  # noqa: PTH100 - keeps symlinks
    absolute = "/" if absolute == "//" else absolute
    return _listed("file", "", paths.text_of(absolute), uri)


def _object(scheme: str, uri: str) -> Pattern:
    place, _, path = uri.partition("://")[2].partition("/")
    if scheme == "s3" and ("@" in place or ("@" in path and ":" in place)):  # the secret may hold a slash
        msg = "uris: an s3:// URI has keys before '@'; give them in aws_access_key_id and aws_secret_access_key"
        raise SettingError(msg)
    if not place:
        kind = _PLACES[scheme]
        msg = f"uris: a {scheme}:// URI names no {kind}; expected {scheme}://{kind}/, a key behind it or not"
        raise SettingError(msg)
    if "@" in place:
        msg = f"uris: {scheme}:// is followed by the name of a {_PLACES[scheme]}, not by an account or keys before '@'"
        raise SettingError(msg)
    if scheme == "azure" and re.search(r"[?&]sig=", uri):
        msg = "uris: an azure:// URI has a signature in its query; give it in azure_sas_token"
        raise SettingError(msg)
    return _listed(scheme, place, path, uri)


def _check_host(scheme: str, uri: str) -> None:
    try:
        parts = urllib.parse.urlsplit(uri)
        usable = parts.port != 0 and not re.search(r"\s", parts.netloc)
        usable = usable and (bool(parts.hostname) or scheme not in _REMOTE)
    except ValueError:  # a port that is no number, or half of an IPv6 address
        usable = False
    if not usable:
        msg = f"uris: a URI of {scheme} has no usable host or port; expected {scheme}://host/path or {scheme}://host:port/path"
        raise SettingError(msg)


def _listed(scheme: str, place: str, path: str, uri: str) -> Pattern:
    glob = re.search(r"[*?[]", path)
    shown = paths.encoded(path) if scheme in {"file", "sftp"} else path
    name = f"{scheme}://{place}{'/' if scheme in _BUCKETS else ''}{shown}"
    if glob is not None and not (scheme == "file" and Path(paths.path_of(path)).exists()):
        return Pattern(scheme, "glob", place, path, path[: glob.start()], name, uri)
    kind = "prefix" if not path or path.endswith("/") else "file"
    return Pattern(scheme, kind, place, path, path, name, uri)


def _single(scheme: str, uri: str) -> Pattern:
    parts = urllib.parse.urlsplit(uri)
    path = urllib.parse.unquote(parts.path)
    if "*" in path or path.endswith("/") or not path:
        msg = f"uris: {scheme} cannot be listed, so a URI of it names one file, not a prefix or glob"
        raise SettingError(msg)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    place = host + (f":{parts.port}" if parts.port else "")
    kept = [pair for pair in parts.query.split("&") if pair and not _SIGNATURE.match(pair.split("=", 1)[0])]
    # What else the query holds tells files apart, and may be a secret of a kind unknown here: it is named by its hash.
    digest = hashlib.sha256("&".join(kept).encode()).hexdigest()[:12]
    name = f"{scheme}://{place}{parts.path}" + (f"?{digest}" if kept else "")
    return Pattern(scheme, "file", place, path, path, name, uri)


_MATCHERS: dict[str, re.Pattern[str]] = {}


def _matcher(glob: str) -> re.Pattern[str]:
    if glob not in _MATCHERS:
        _MATCHERS[glob] = re.compile("".join(_translated(glob)), re.DOTALL)
    return _MATCHERS[glob]


def _translated(glob: str) -> t.Iterator[str]:
    """Translate a glob to a regular expression: `*` and `?` stop at `/`, `**/` is any number of folders."""
    for token in re.findall(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", glob, re.DOTALL):
        if token == "**/":  # noqa: S105 - a piece of a glob
            yield "(?:.*/)?"
        elif token == "**":  # noqa: S105 - a piece of a glob
            yield ".*"
        elif token == "*":  # noqa: S105 - a piece of a glob
            yield "[^/]*"
        elif token == "?":  # noqa: S105 - a piece of a glob
            yield "[^/]"
        elif token.startswith("[") and len(token) > 1:
            yield _character_class(token)
        else:
            yield re.escape(token)


def _character_class(token: str) -> str:
    body = token[1:-1]
    negated = body.startswith("!")
    body = body.removeprefix("!").replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace("^", "\\^")
    return f"(?!/)[{'^' if negated else ''}{body}]"
