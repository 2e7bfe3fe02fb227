"""Key files and the folder of a server's keys."""

import os
import time

import pytest

from dinar_live.runtime.core.errors import InputError, KeyFileError
from dinar_live.runtime.stream import KeyFolder, KeyPair
from dinar_live.runtime.stream.auth import keys as keys_module
from dinar_live.runtime.stream.auth.keys import read_public

posix = pytest.mark.skipif(os.name != "posix", reason="rights of files are POSIX's")


def mode(path) -> int:
    return path.stat().st_mode & 0o777


def test_pair_survives_its_files(tmp_path):
    pair = KeyPair.new()
    pair.save(tmp_path / "alice.key", "alice")
    assert KeyPair.load(tmp_path / "alice.key") == pair
    assert (
        read_public(tmp_path / "alice.pub")
        == read_public(str(tmp_path / "alice.key"))
        == read_public(pair.public)
        == pair.public
    )
    assert pair.secret not in (tmp_path / "alice.pub").read_text()
    assert len(pair.public) == len(pair.secret) == 40 and KeyPair.new() != pair


def test_secret_is_not_shown():
    pair = KeyPair.new()
    assert pair.secret not in repr(pair) and pair.public in repr(pair)


@posix
def test_secret_is_private_from_the_start(tmp_path):
    os.umask(before := os.umask(0))
    os.umask(0)
    try:
        KeyPair.new().save(tmp_path / "alice.key", "alice")
        keys = KeyFolder(tmp_path / "keys")
    finally:
        os.umask(before)
    assert mode(tmp_path / "alice.key") == mode(keys.folder / "server.key") == 0o600
    assert mode(keys.folder) == mode(keys.folder / "authorized") == 0o700


@posix
@pytest.mark.parametrize("rights", [0o640, 0o604, 0o666])
def test_secret_that_others_can_read_is_refused(tmp_path, rights):
    KeyPair.new().save(tmp_path / "alice.key", "alice")
    (tmp_path / "alice.key").chmod(rights)
    with pytest.raises(KeyFileError, match="chmod 600"):
        KeyPair.load(tmp_path / "alice.key")


@posix
def test_folder_that_others_can_change_is_refused(tmp_path):
    KeyFolder(tmp_path / "keys")
    (tmp_path / "keys" / "authorized").chmod(0o775)
    with pytest.raises(KeyFileError, match="chmod 700"):
        KeyFolder(tmp_path / "keys")


@pytest.mark.parametrize("there", ["alice.key", "alice.pub"])
def test_no_file_is_replaced_and_no_draft_is_left(tmp_path, there):
    (tmp_path / there).write_text("precious")
    with pytest.raises(KeyFileError, match="exists already"):
        KeyPair.new().save(tmp_path / "alice.key", "alice")
    assert [p.name for p in tmp_path.iterdir()] == [there] and (tmp_path / there).read_text() == "precious"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "public = ",
        "public = short",
        "secret",
        "public = {public}\npublic = {public}",
        "public = {public}\nsecret = {public}",
        "public = {public}\nsecret = {secret}\nshell = rm",
        "public = " + "#" * 40,
        "\xff",
        "public = {public}\n" + "# \n" * 3000,
    ],
)
def test_files_that_are_none_are_refused(tmp_path, text):
    pair = KeyPair.new()
    path = tmp_path / "x.key"
    path.write_bytes(text.format(public=pair.public, secret=pair.secret).encode("latin-1"))
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="x.key"):
        KeyPair.load(path)


def test_public_key_alone_is_no_pair(tmp_path):
    KeyPair.new().save(tmp_path / "a.key", "a")
    with pytest.raises(KeyFileError):
        KeyPair.load(tmp_path / "a.pub")
    with pytest.raises(KeyFileError, match="not there"):
        KeyPair.load(tmp_path / "b.key")
    with pytest.raises(InputError, match="40 characters"):
        read_public("no such key")


def test_folder_that_cannot_be_one_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileError, match="file"):
        KeyFolder(tmp_path / "file")


def test_folder_knows_who_was_added(tmp_path):
    keys, alice, bob = KeyFolder(tmp_path), KeyPair.new(), KeyPair.new()
    keys.add("alice", alice.public)
    keys.add("bob.2", bob.public)
    assert keys.clients() == {"alice": alice.public, "bob.2": bob.public}
    assert KeyFolder(tmp_path).pair == keys.pair, "a server keeps its pair"
    assert (
        keys.name_of(alice.public) == "alice"
        and keys.name_of(KeyPair.new().public) is None
        and keys.name_of("") is None
    )


@pytest.mark.parametrize(
    "name", ["", "..", "../eve", "a/b", "a\\b", ".hidden", "a b", "x" * 65, "-x", "é", "a\n"]
)
def test_names_that_could_leave_the_folder_are_refused(tmp_path, name):
    keys = KeyFolder(tmp_path / "keys")
    for action in (lambda: keys.add(name, KeyPair.new().public), lambda: keys.revoke(name)):
        with pytest.raises(InputError, match="name"):
            action()
    assert list(keys.clients()) == [] and [p.name for p in tmp_path.iterdir()] == ["keys"]


def test_folder_refuses_doubles(tmp_path):
    keys, alice = KeyFolder(tmp_path), KeyPair.new()
    keys.add("alice", alice.public)
    for name, key in (
        ("alice", KeyPair.new().public),
        ("ALICE", KeyPair.new().public),
        ("eve", alice.public),
    ):
        with pytest.raises(KeyFileError, match="revoke alice"):
            keys.add(name, key)
    with pytest.raises(InputError, match="server's own"):
        keys.add("eve", keys.pair.public)
    assert list(keys.clients()) == ["alice"]


def test_changes_count_while_the_folder_is_open(tmp_path, monkeypatch):
    monkeypatch.setattr(keys_module, "REFRESH_SECONDS", 0.0)
    keys, alice = KeyFolder(tmp_path), KeyPair.new()
    other = KeyFolder(tmp_path)  # what `dinar keys` in another process does
    assert keys.name_of(alice.public) is None
    other.add("alice", alice.public)
    time.sleep(0.002)
    assert keys.name_of(alice.public) == "alice"
    other.revoke("alice")
    time.sleep(0.002)
    assert keys.name_of(alice.public) is None
    with pytest.raises(InputError, match="nobody is called"):
        other.revoke("alice")


def test_a_key_that_vanishes_while_the_folder_is_read_lets_nobody_in_and_disturbs_nobody(tmp_path):
    keys, alice = KeyFolder(tmp_path), KeyPair.new()
    keys.add("alice", alice.public)
    (tmp_path / "authorized" / "bob.pub").symlink_to(
        tmp_path / "gone.pub"
    )  # what glob lists and nobody can open
    assert keys.clients() == {"alice": alice.public} and keys.name_of(alice.public) == "alice"


def test_folder_is_not_read_again_for_every_stranger(tmp_path, monkeypatch):
    keys = KeyFolder(tmp_path)
    reads = []
    monkeypatch.setattr(keys, "clients", lambda: reads.append(1) or {})
    for _ in range(1000):
        keys.name_of("stranger")
    assert 1 <= len(reads) < 100


def test_unreadable_files_let_nobody_in_and_keep_nobody_out(tmp_path, caplog):
    keys, alice = KeyFolder(tmp_path), KeyPair.new()
    keys.add("alice", alice.public)
    (tmp_path / "authorized" / "eve.pub").write_text("public = nonsense\n")
    (tmp_path / "authorized" / "dir.pub").mkdir()
    assert keys.clients() == {"alice": alice.public} and keys.clients()
    assert len([r for r in caplog.records if "eve.pub" in r.message]) == 1, "said once"
