"""Keys as arguments of the verbs: who may connect to a server, and with what a client does."""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import tempfile
from collections.abc import Iterator

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.stream import KeyFolder, KeyPair
from dinar_live.runtime.stream.auth.keys import default_folder


def keys_argument(parser: argparse.ArgumentParser, more: str = "") -> None:
    """--keys."""
    parser.add_argument(
        "--keys", metavar="DIR", help=f"folder with the server's keys{more} (default: {default_folder()})"
    )


def server_arguments(parser: argparse.ArgumentParser) -> None:
    """--curve --keys --insecure."""
    parser.add_argument(
        "--curve",
        action="store_true",
        help="encrypt, and let in only clients whose keys were added (see `dinar keys`)",
    )
    keys_argument(parser, ", implies --curve")
    parser.add_argument(
        "--insecure", action="store_true", help="allow an endpoint that others can reach without keys"
    )


def server_keys(args: argparse.Namespace) -> KeyFolder | None:
    """The folder that `server_arguments` named; None = no keys."""
    return KeyFolder(args.keys or default_folder()) if args.curve or args.keys else None


def client_arguments(parser: argparse.ArgumentParser) -> None:
    """--server-key --key."""
    parser.add_argument(
        "--server-key",
        metavar="KEY",
        help="the server's public key, if it has keys: a .pub file, or 40 characters in single quotes",
    )
    parser.add_argument(
        "--key", metavar="FILE", help="this client's own .key file, whose public key was added there"
    )


def client_access(args: argparse.Namespace) -> dict:
    """The keyword arguments of Client for `client_arguments`."""
    if (args.server_key is None) != (args.key is None):
        raise InputError(
            "--server-key and --key: got one of them, expected both (a server with keys) or none"
        )
    return {} if args.key is None else {"server_key": args.server_key, "key": args.key}


@contextlib.contextmanager
def temporary_keys(wanted: bool) -> Iterator[tuple[list[str], dict]]:
    """Arguments of `dinar serve` and keyword arguments of Client, with keys that live as long as the block;
    empty unless `wanted`."""
    if not wanted:
        yield [], {}
        return
    with tempfile.TemporaryDirectory(prefix="dinar-keys-") as folder:
        keys, pair = KeyFolder(pathlib.Path(folder) / "keys"), KeyPair.new()
        keys.add("client", pair.public)
        yield ["--keys", str(keys.folder)], {"server_key": keys.pair.public, "key": pair}
