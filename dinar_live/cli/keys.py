"""dinar keys new NAME | add NAME KEY | list | revoke NAME [--keys DIR]"""

from __future__ import annotations

import argparse
import pathlib

from dinar_live.runtime.stream import KeyFolder, KeyPair
from dinar_live.runtime.stream.auth.keys import checked_name, default_folder, read_public

from .access import keys_argument


def arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    new = actions.add_parser("new", help="make a pair of keys for a client: NAME.key (secret) and NAME.pub")
    new.add_argument("name", metavar="NAME", help="of the person or device")
    new.add_argument("--out", default=".", metavar="DIR", help="where the two files go (default: here)")
    add = actions.add_parser(
        "add", help="let the owner of a key connect to this machine's server, also while it runs"
    )
    add.add_argument("name", metavar="NAME", help="of the person or device")
    add.add_argument(
        "key", metavar="KEY", help="its public key: a .pub file, or the 40 characters in single quotes"
    )
    show = actions.add_parser("list", help="show the server's public key and who may connect")
    revoke = actions.add_parser(
        "revoke", help="no longer let in; a connected client gets nothing more within a second"
    )
    revoke.add_argument("name", metavar="NAME", help="as `dinar keys list` shows it")
    for action in (add, show, revoke):
        keys_argument(action)


def run(args: argparse.Namespace) -> int:
    if args.action == "new":
        path, pair = pathlib.Path(args.out) / f"{checked_name(args.name)}.key", KeyPair.new()
        pair.save(path, args.name)
        public = path.with_suffix(".pub")
        print(
            f"{path}: secret, stays with {args.name}\n{public}: for the server, `dinar keys add {args.name} {public.name}`"
        )
        print(f"public key: {pair.public}")
        return 0
    keys = KeyFolder(args.keys or default_folder())
    if args.action == "add":
        keys.add(args.name, read_public(args.key))
        print(
            f"{args.name} may connect, and needs the server's public key:\n{keys.pair.public}\nor the file {keys.folder / 'server.pub'}"
        )
    elif args.action == "revoke":
        keys.revoke(args.name)
        print(f"{args.name} may connect no longer")
    else:
        clients = keys.clients()
        print(f"server       {keys.pair.public}   {keys.folder / 'server.pub'}")
        for name, key in clients.items():
            print(f"{name:<12} {key}")
        if not clients:
            print("nobody may connect yet; `dinar keys add NAME KEY`")
    return 0
