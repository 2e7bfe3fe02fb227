"""Options of a verb from a TOML file, and what completes them in a shell."""

import argparse
import subprocess

import pytest

from dinar_live.cli.main import VERBS, main, parser_of

ALL = """
avatars = ["me", "you"]
endpoint = "tcp://0.0.0.0:5555"
size = "640x512"
fps = 25
motion = ["a.bvh", "demo"]
no-page = true
lock_feet = false
page-origin = ["https://example.org"]

[limit]
max_clients = 4
max_rate = 60.5
"""


def read(tmp_path, text, *more):
    file = tmp_path / "serve.toml"
    file.write_text(text)
    return parser_of(["serve"]).parse_args(["serve", *more, "--config", str(file)])


def test_a_file_says_what_the_command_line_would(tmp_path):
    by_file = vars(read(tmp_path, ALL))
    words = (
        "me you --endpoint tcp://0.0.0.0:5555 --size 640x512 --fps 25 --motion a.bvh --motion demo --no-page"
    )
    words += " --page-origin https://example.org --limit max_clients=4 --limit max_rate=60.5"
    by_hand = vars(parser_of(["serve"]).parse_args(["serve", *words.split()]))
    assert by_file.pop("config") and by_hand.pop("config") is None
    assert by_file == by_hand


def test_the_command_line_wins(tmp_path):
    args = read(tmp_path, ALL, "ada", "--fps", "60", "--size=64")
    assert (args.avatars, args.fps, args.size) == (["ada"], 60, (64, 64)) and args.no_page


def test_without_avatars_in_the_file_they_are_still_needed(tmp_path, capsys):
    with pytest.raises(SystemExit):
        read(tmp_path, "fps = 25")
    assert "AVATAR" in capsys.readouterr().err
    assert read(tmp_path, "fps = 25", "me").avatars == ["me"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fsp = 25", "fsp: no such option; did you mean fps?"),
        ("xyzzy = 1", "xyzzy: no such option; there are "),
        ("config = 'again.toml'", "config: no such option"),
        ("no-page = 'yes'", "no-page: got 'yes', expected true or false"),
        ("fps = [1, 2]", "fps: got a list, expected one value"),
        ("fps = true", "fps: got True, expected text or a number"),
        ("avatars = [1]", "avatars: got [1], expected a list of names"),
        ("avatars = []", "avatars: got [], expected a list of names"),
        ("fps = ", "is no TOML"),
        ("fps = 1e9", "argument --fps: got '1000000000.0', expected 1 to"),
        ("log-level = 'loud'", "argument --log-level: invalid choice: 'loud'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, capsys, text, says):
    with pytest.raises(SystemExit) as ended:
        read(tmp_path, text, "me")
    assert ended.value.code == 2 and says in capsys.readouterr().err


def test_a_file_that_is_not_there(capsys):
    with pytest.raises(SystemExit):
        main(["serve", "--config", "nosuch.toml"])
    assert (
        capsys.readouterr().err
        == "dinar serve: nosuch.toml: No such file or directory; --config expects a TOML file\n"
    )


def test_without_a_verb_the_five_that_a_newcomer_needs(capsys):
    assert main([]) == 2
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("  dinar ")]
    assert [line[1] for line in lines] == ["demo", "export", "render", "serve", "doctor"]
    for words in lines:  # each can be typed as it stands
        command = words[1 : words.index("make") if "make" in words else None]
        assert command[0] in VERBS
    parser_of(["export"]).parse_args("export --photo me.jpg --out me".split())
    parser_of(["render"]).parse_args("render me demo -o me.mp4".split())
    parser_of(["serve"]).parse_args("serve me --viewer".split())


def test_bash_completes_verbs_and_options(tmp_path, capsys):
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "dinar.bash"
    script.write_text(capsys.readouterr().out)
    ask = f"source {script}; COMP_WORDS=({{}}); COMP_CWORD={{}}; _shtab_dinar; echo ${{{{COMPREPLY[@]}}}}"

    def completed(*words):
        text = ask.format(" ".join(words), len(words) - 1)
        return subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True).stdout.split()

    assert completed("dinar", "se") == ["serve"]
    assert completed("dinar", "serve", "--log") == ["--log-level"]
    assert isinstance(parser_of(VERBS), argparse.ArgumentParser)
