"""CameraUri: where a camera is, as a type that cannot print its password."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from stream.home import expanded

SCHEMES = ("rtsp", "rtsps", "file", "v4l2", "demo")
DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322}

_HIDDEN = "***"
# Many cameras take credentials in the path or the query: /user=admin&password=x, ?token=x.
_SECRET_FIELD = re.compile(
    r"((?:^|[?&/;_=])[^=&/?;]*(?:pass|pwd|pw|token|secret|key|auth)[^=&/?;]*=)([^&/?;\s]+)", re.I
)
_USERINFO = re.compile(r"(?<=://)\S*@")  # up to the last @: an unescaped password may hold / ? # and @
# An address whose `://` was mistyped. Taken for a path, it would be shown, password and all.
_MISTYPED = re.compile(rf"(?:^|/)(?:{'|'.join(SCHEMES)}|https?)(?::|//)|:\S*@|^//", re.I)


class UriError(ValueError):
    """A camera address that cannot be understood. Its text never repeats the address."""


@dataclass(frozen=True, slots=True, repr=False)
class CameraUri:
    """An address of a camera or file; `str` and `repr` hide user name, password and secret query fields.

    path: for rtsp(s) as sent to the server, with its query; for file and v4l2 in the file system.
    """

    scheme: str
    path: str
    host: str = ""
    port: int = 0
    user: str = ""
    password: str = ""

    @classmethod
    def parse(cls, text: str) -> CameraUri:
        """Raises UriError. User name and password are percent-decoded; a text without a scheme is a path."""
        if "://" not in text:
            if not text.strip():
                raise UriError("the camera's address is empty")
            if _MISTYPED.search(text):
                raise UriError(
                    "an address needs `://`, as in rtsp://host/path; if it is a path with such a name, write file:///..."
                )
            try:
                return cls("file", str(expanded(text).absolute()))
            except ValueError as error:
                raise UriError(str(error)) from None
        scheme = text.partition("://")[0].lower()
        if scheme not in SCHEMES:
            raise UriError(f"cannot open '{scheme}://' addresses; known are {', '.join(s + '://' for s in SCHEMES)}")
        if scheme in DEFAULT_PORTS:
            return cls._parse_network(scheme, text)
        if scheme == "demo":
            return cls(scheme, text.partition("://")[2])
        path = unquote(text.partition("://")[2])
        if not path.startswith("/"):
            raise UriError(f"'{scheme}://' needs an absolute path: {scheme}:///...")
        return cls(scheme, path)

    @classmethod
    def _parse_network(cls, scheme: str, text: str) -> CameraUri:
        hint = "write special characters of the user name and password as %XX (for example %40 for @)"
        try:
            parts = urlsplit(text)
            host, port = parts.hostname or "", parts.port or DEFAULT_PORTS[scheme]
        except ValueError:
            # urllib's own text repeats the address, password and all.
            raise UriError(f"the {scheme}:// address has no valid host and port; {hint}") from None
        if not host or parts.fragment or "@" in parts.path:
            raise UriError(f"the {scheme}:// address has no valid host and port; {hint}")
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        return cls(scheme, path, host, port, unquote(parts.username or ""), unquote(parts.password or ""))

    @property
    def live(self) -> bool:
        """Whether time goes on when nobody reads: everything but a file."""
        return self.scheme != "file"

    @property
    def location(self) -> str:
        """The address without user name and password: what GStreamer is given."""
        if self.scheme not in DEFAULT_PORTS:
            return f"{self.scheme}://{quote(self.path)}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"

    def redact(self, text: str) -> str:
        """`text` with every secret of this address hidden, in whatever form a library may print it."""
        secrets = {self.password, *(match[2] for match in _SECRET_FIELD.finditer(self.path))}
        forms = {form for s in secrets if s for form in (s, unquote(s), quote(s), quote(s, safe=""))}
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, _HIDDEN)
        return redact(text)

    def __str__(self) -> str:
        if self.scheme not in DEFAULT_PORTS:
            return f"{self.scheme}://{quote(redact(self.path), safe='/*')}"
        shown = redact(self.location)
        return shown.replace("://", f"://{_HIDDEN}@", 1) if self.user or self.password else shown

    def __repr__(self) -> str:
        return f"CameraUri({str(self)!r})"


def without_address(text: str) -> str:
    """Of an address that could not be parsed, its scheme only: nobody knows where in it the password is."""
    if "://" not in text and _MISTYPED.search(text):
        return _HIDDEN
    return re.sub(r"://.+", f"://{_HIDDEN}", text, flags=re.DOTALL)


def redact(text: str) -> str:
    """`text` with the user names, passwords and secret fields of any addresses in it hidden."""
    return _SECRET_FIELD.sub(rf"\1{_HIDDEN}", _USERINFO.sub(f"{_HIDDEN}@", text))
