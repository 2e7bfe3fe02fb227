"""Who may come: CURVE key pairs, their files, and the folder with a server's own pair and the public keys of
its clients."""

from __future__ import annotations

import logging
import os
import pathlib
import re
import secrets
import stat
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import NamedTuple

import zmq
from zmq.utils import z85

from dinar_live.runtime.core.errors import InputError, KeyFileError

log = logging.getLogger(__name__)

REFRESH_SECONDS = 0.5  # a key that is added or revoked counts after so long
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_Z85 = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_MAX_FILE = 4096
_POSIX = os.name == "posix"


@dataclass(frozen=True)
class KeyPair:
    """A CURVE key pair as Z85 text, 40 characters each. The secret is not shown by repr."""

    public: str
    secret: str = field(repr=False)

    @classmethod
    def new(cls) -> KeyPair:
        """A fresh random pair."""
        public, secret = zmq.curve_keypair()
        while public.startswith(b"-"):  # would look like an option on a command line
            public, secret = zmq.curve_keypair()
        return cls(public.decode("ascii"), secret.decode("ascii"))

    @classmethod
    def load(cls, path: str | os.PathLike) -> KeyPair:
        """The pair in a .key file. Raises KeyFileError, also where others may read the file."""
        path = pathlib.Path(path)
        values = _read(path)
        if _POSIX and path.stat().st_mode & 0o077:
            raise KeyFileError(
                f"{path}: others on this machine can read this secret key; `chmod 600 {path}`, or make a new one"
            )
        if "secret" not in values:
            raise KeyFileError(
                f"{path}: no secret key in it, expected the .key file of a pair (`dinar keys new`), not the .pub file"
            )
        secret = values["secret"]
        public = zmq.curve_public(secret.encode("ascii")).decode("ascii")
        if values.get("public", public) != public:
            raise KeyFileError(
                f"{path}: public and secret key do not belong together; make a new pair with `dinar keys new`"
            )
        return cls(public, secret)

    def save(self, path: str | os.PathLike, name: str) -> None:
        """Writes `path` (.key, for its owner only) and beside it the .pub file, which may be given away.
        Raises KeyFileError rather than replace a file."""
        path = pathlib.Path(path)
        if path.with_suffix(".pub").exists():
            raise KeyFileError(
                f"{path.with_suffix('.pub')} exists already; choose another name, or remove it first"
            )
        _write(
            path,
            f"# dinar-live: secret key of {name}. Keep this file to yourself; give away only {path.with_suffix('.pub').name}\n"
            f"public = {self.public}\nsecret = {self.secret}\n",
            0o600,
        )
        save_public(self.public, path.with_suffix(".pub"), name)


def save_public(key: str, path: pathlib.Path, name: str) -> None:
    """Writes a .pub file. Raises KeyFileError rather than replace one."""
    _write(path, f"# dinar-live: public key of {name}\npublic = {key}\n", 0o644)


def read_public(key: str | os.PathLike) -> str:
    """A public key as Z85 text, given as such or as the path of a .pub or .key file. Raises InputError or
    KeyFileError."""
    if isinstance(key, str) and _is_key(key):
        return key
    path = pathlib.Path(key)
    if not path.exists():
        raise InputError(
            f"public key: got {str(key)!r}, expected 40 characters (in single quotes in a shell) or the path of a .pub file"
        )
    values = _read(path)
    if "public" not in values:
        raise KeyFileError(f"{path}: no public key in it, expected a file that `dinar keys new` made")
    return values["public"]


class ConnectionKeys(NamedTuple):
    """What a connection to a server with keys takes: its public key and the client's own pair."""

    server_key: str
    pair: KeyPair


def connection_keys(
    server_key: str | os.PathLike | None, key: KeyPair | str | os.PathLike | None
) -> ConnectionKeys | None:
    """The keys that a client was given; None for a server without. Raises InputError for one without the
    other, KeyFileError."""
    if server_key is None and key is None:
        return None
    if server_key is None or key is None:
        raise InputError("server_key and key: got one of them, expected both (a server with keys) or none")
    pair = key if isinstance(key, KeyPair) else KeyPair.load(key)
    return ConnectionKeys(read_public(server_key), pair)


def checked_name(name: str) -> str:
    """`name` if it may name a key and its file. Raises InputError."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"name: got {name!r}, expected 1 to 64 letters, digits, dots, dashes and underscores, the first a letter or digit"
        )
    return name


def default_folder() -> pathlib.Path:
    """Where a server keeps its keys unless told otherwise."""
    base = os.environ.get("APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME")
    return (pathlib.Path(base) if base else pathlib.Path.home() / ".config") / "dinar-live" / "keys"


class KeyFolder:
    """The keys of a server: FOLDER/server.key and .pub, and FOLDER/authorized/NAME.pub for each client that
    may connect.

    Opening makes what is missing, the server's pair too. The folder is looked at again all the time, so a key
    that is added or removed counts within REFRESH_SECONDS, in a running server as well. A file that cannot be
    read lets nobody in. May be used from any thread. Raises KeyFileError, also where others could change the
    folder.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = pathlib.Path(folder)
        self._authorized = self.folder / "authorized"
        for path in (self.folder, self._authorized):
            try:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as e:
                raise KeyFileError(f"{path}: cannot be made a folder for keys ({e.strerror})") from None
            if _POSIX and path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise KeyFileError(
                    f"{path}: others on this machine could let themselves in; `chmod 700 {path}`"
                )
        path = self.folder / "server.key"
        if not path.exists():
            KeyPair.new().save(path, "the server")
        self.pair = KeyPair.load(path)
        self._lock = threading.Lock()
        self._names: dict[str, str] = {}
        self._skipped: set[str] = set()
        self._read_at = float("-inf")

    def clients(self) -> dict[str, str]:
        """Name -> public key of all who may connect, as the files say now."""
        clients, skipped = {}, set()
        for path in sorted(self._authorized.glob("*.pub")):
            try:
                clients[path.stem] = read_public(path)
            except (
                KeyFileError,
                InputError,
            ) as e:  # the latter for one that was revoked just now, or a link to nowhere
                skipped.add(path.name)
                if path.name not in self._skipped:
                    log.warning("not let in: %s", e)
        self._skipped = skipped
        return clients

    def add(self, name: str, public: str) -> None:
        """Lets the owner of a key in. Raises KeyFileError if the name or the key is there already."""
        path = self._authorized / f"{checked_name(name)}.pub"
        if public == self.pair.public:
            raise InputError(f"{name}: this is the server's own key, expected a client's")
        for other, key in self.clients().items():
            if other.lower() == name.lower() or key == public:
                raise KeyFileError(
                    f"{self.folder}: {other} has {'this key' if key == public else 'this name'} already; "
                    f"`dinar keys revoke {other}` removes it"
                )
        save_public(public, path, name)

    def revoke(self, name: str) -> None:
        """Lets the owner of a key in no longer."""
        try:
            (self._authorized / f"{checked_name(name)}.pub").unlink()
        except FileNotFoundError:
            raise InputError(
                f"{self.folder}: nobody is called {name!r}; there are {sorted(self.clients()) or 'no keys'}"
            ) from None

    def name_of(self, public: str) -> str | None:
        """Whose key this is; None = may not connect, or may no longer."""
        with self._lock:
            now = time.monotonic()
            if now - self._read_at > REFRESH_SECONDS:
                try:
                    self._names = {key: name for name, key in self.clients().items()}
                except OSError as e:
                    log.error("nobody is let in: %s", e)
                    self._names = {}
                self._read_at = now
            return self._names.get(public)


def _is_key(text: str) -> bool:
    try:
        return bool(_Z85.fullmatch(text)) and len(z85.decode(text)) == 32
    except (struct.error, ValueError):  # five characters that stand for more than 32 bits
        return False


def _read(path: pathlib.Path) -> dict[str, str]:
    """The `name = KEY` lines of a key file."""
    try:
        with open(path, "rb") as file:
            text = file.read(_MAX_FILE + 1).decode("ascii")
    except FileNotFoundError:
        raise KeyFileError(f"{path}: not there; `dinar keys new` makes a pair of keys") from None
    except (UnicodeDecodeError, IsADirectoryError):
        raise KeyFileError(f"{path}: not a key file, expected one that `dinar keys new` made") from None
    except OSError as e:
        raise KeyFileError(f"{path}: cannot be read ({e.strerror})") from None
    values = {}
    for line in text.splitlines():
        name, sign, value = (part.strip() for part in line.partition("="))
        if line.startswith("#") or not line.strip():
            continue
        if (
            name not in ("public", "secret")
            or not sign
            or not _is_key(value)
            or name in values
            or len(text) > _MAX_FILE
        ):
            raise KeyFileError(
                f"{path}: not a key file, expected lines like 'public = 40 CHARACTERS' as `dinar keys new` writes them"
            )
        values[name] = value
    return values


def _write(path: pathlib.Path, text: str, mode: int) -> None:
    """Makes a file whole or not at all, with its rights from the start, never in place of another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(fd, "w", encoding="ascii", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # unlike rename, fails where there is a file
    except FileExistsError:
        raise KeyFileError(f"{path} exists already; choose another name, or remove it first") from None
    finally:
        draft.unlink()
