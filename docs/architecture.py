"""Draws docs/architecture.svg: the rooms on their floors, their doors, and the path of a frame.

    python docs/architecture.py

Rooms and doors come from the table DOORS in tests/architecture/test_doors.py, which the tests hold the code to. A
room's floor follows from its doors: it stands above every room that it may import. Only the column, the
colour and the words of a room are written here. Needs nothing but Python; tests/docs compares the picture
with the table.
"""

from __future__ import annotations

import ast
import pathlib
from dataclasses import dataclass
from html import escape

ROOT = pathlib.Path(__file__).resolve().parents[1]
TABLE = ROOT / "tests" / "architecture" / "test_doors.py"
PICTURE = ROOT / "docs" / "architecture.svg"

WIDTH = 1080
MARGIN = 28
GAP = 12
FLOOR_HEIGHT = 84
COLUMNS = 3
TOP = 96
FONT = "Inter, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"

INK = "#1f2937"
QUIET = "#5b6675"
PAPER = "#ffffff"


@dataclass(frozen=True)
class Colour:
    fill: str
    edge: str


MACHINE = Colour("#fdf0e1", "#b8620b")  # what computes
GROUND = Colour("#eef1f5", "#586576")  # what all share
PERSON = Colour("#e8f3ec", "#3a8f5c")  # body and motion
FRAMES = Colour("#fbe9e7", "#c4553f")  # what renders
WIRE = Colour("#e6f0fb", "#3573b9")  # what connects
TOOLS = Colour("#f1ebfa", "#7b5cb8")  # what people start


@dataclass(frozen=True)
class Room:
    """Where a room is drawn and what is said of it. columns: the first one and how many."""

    columns: tuple[int, int]
    colour: Colour
    words: str


ROOMS = {
    "kernels": Room((0, 1), MACHINE, "lbs, project, rasterize, gather, compose"),
    "engines": Room((0, 1), MACHINE, "run model.onnx: TensorRT, torch, OpenVINO"),
    "runtime.core": Room((1, 2), GROUND, "Pose, Camera, skeleton, rotations, checks of inputs, errors"),
    "runtime.formats": Room((1, 1), GROUND, ".npz and pickles, read as plain data"),
    "runtime.stream": Room((2, 1), WIRE, "protocol, keys, server, client, spectators"),
    "runtime.avatar": Room((0, 2), PERSON, "body models, rig, avatar bundle"),
    "runtime.viewer": Room((2, 1), WIRE, "the page in the browser and its gateway"),
    "runtime.render": Room((0, 1), FRAMES, "Renderer: a pose and cameras to frames"),
    "runtime.motion": Room((1, 1), PERSON, "motion files, clips, filters, recordings"),
    "runtime.vision": Room((1, 1), PERSON, "people in pictures: points, masks, fits"),
    "runtime.live": Room((1, 1), PERSON, "live motion capture: VMC, Rokoko, ..."),
    "runtime.service": Room(
        (0, 3), WIRE, "glue: requests of clients to renderers; what moves without a pose"
    ),
    "runtime.bench": Room((0, 3), TOOLS, "benchmark scenarios"),
    "export": Room(
        (0, 3), TOOLS, "makes avatars: from photos, with the DINAR networks, dinar fit, dinar distill"
    ),
    "dinar_live": Room(
        (0, 3), TOOLS, "front door: from dinar_live import Renderer; the verbs of dinar; doctor"
    ),
}

# The path of a frame: what happens, in which room, and what comes out.
PATH = (
    ("pose", "runtime.stream", "from a client"),
    ("lbs", "kernels", "vertices"),
    ("project", "kernels", "pixels, box"),
    ("rasterize", "kernels", "triangle ids"),
    ("gather", "kernels", "features"),
    ("network", "engines", "rgb, alpha"),
    ("compose", "kernels", "RGBA, depth"),
    ("encode", "runtime.stream", "JPEG, planes"),
    ("send", "runtime.stream", "to the client"),
)


@dataclass(frozen=True)
class Box:
    x: float
    y: float
    width: float
    height: float


def read_doors(table: pathlib.Path = TABLE) -> dict[str, tuple[str, ...]]:
    """The table of the architecture test: room -> the rooms that it may import."""
    for node in ast.parse(table.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DOORS":
            return ast.literal_eval(node.value)
    raise ValueError(f"{table}: has no table DOORS")


def behind(door: str, rooms) -> list[str]:
    """The rooms that a door leads to: `runtime` leads to each room of the runtime."""
    return [room for room in rooms if room == door or room.startswith(f"{door}.")]


def floors(doors: dict[str, tuple[str, ...]]) -> dict[str, int]:
    """Room -> floor, 0 at the ground: one above the highest room that it may import. The table names rooms
    from the ground up, so one pass is enough."""
    found: dict[str, int] = {}
    for room, names in doors.items():
        below = [found[other] for name in names for other in behind(name, found)]
        found[room] = 1 + max(below, default=-1)
    return found


def boxes(floor_of: dict[str, int]) -> dict[str, Box]:
    """Room -> its box. A room reaches up to the next one above it in the same columns, so that no floor has
    holes."""
    top_floor = max(floor_of.values())
    width = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS
    placed = {}
    for room, floor in floor_of.items():
        first, count = ROOMS[room].columns
        mine = set(range(first, first + count))
        above = [
            other_floor
            for other, other_floor in floor_of.items()
            if other_floor > floor and mine & set(range(ROOMS[other].columns[0], sum(ROOMS[other].columns)))
        ]
        storeys = min(above, default=top_floor + 1) - floor
        y = TOP + (top_floor - floor - storeys + 1) * FLOOR_HEIGHT
        placed[room] = Box(
            MARGIN + first * (width + GAP),
            y,
            count * width + (count - 1) * GAP,
            storeys * FLOOR_HEIGHT - GAP,
        )
    return placed


def text(
    x: float, y: float, words: str, *, size: float = 13, colour: str = INK, weight: int = 400, anchor="start"
):
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{colour}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(words)}</text>'
    )


def badge(x: float, y: float, number: int, colour: Colour) -> str:
    """The number of a step of the path, in a disc."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="9.5" fill="{colour.edge}"/>' + text(
        x, y + 4, str(number), size=11, colour=PAPER, weight=700, anchor="middle"
    )


def door_words(names: tuple[str, ...]) -> str:
    short = [name.removeprefix("runtime.") for name in names]
    return "imports " + ", ".join(short) if short else "imports no other room"


def draw_room(room: str, box: Box, names: tuple[str, ...]) -> list[str]:
    colour = ROOMS[room].colour
    middle = box.y + box.height / 2
    lines = [
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="9" '
        f'fill="{colour.fill}" stroke="{colour.edge}" stroke-width="1.5"/>',
        text(box.x + 16, middle - 12, room, size=16, weight=700, colour=colour.edge),
        text(box.x + 16, middle + 8, ROOMS[room].words),
        text(box.x + 16, middle + 26, door_words(names), size=11.5, colour=QUIET),
    ]
    steps = [number for number, (_, where, _) in enumerate(PATH, 1) if where == room]
    for place, number in enumerate(reversed(steps)):
        lines.append(badge(box.x + box.width - 20 - 23 * place, middle - 17, number, colour))
    return lines


def draw_path(y: float) -> list[str]:
    """One arrow per step, from left to right, in the colour of the room that does it."""
    step = (WIDTH - 2 * MARGIN) / len(PATH)
    height, tip = 58, 13
    lines = [text(MARGIN, y - 16, "The path of a frame", size=17, weight=700)]
    for number, (name, room, result) in enumerate(PATH, 1):
        colour = ROOMS[room].colour
        left, right = MARGIN + (number - 1) * step, MARGIN + number * step - 5
        notch = tip if number > 1 else 0
        points = (
            (left, y),
            (right - tip, y),
            (right, y + height / 2),
            (right - tip, y + height),
            (left, y + height),
            (left + notch, y + height / 2),
        )
        shape = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        lines.append(
            f'<polygon points="{shape}" fill="{colour.fill}" stroke="{colour.edge}" stroke-width="1.5"/>'
        )
        centre = (left + notch + right - tip / 2) / 2
        lines.append(text(centre, y + 25, name, size=14, weight=700, colour=colour.edge, anchor="middle"))
        lines.append(text(centre, y + 43, result, size=11, colour=QUIET, anchor="middle"))
        lines.append(badge(left + (right - left) / 2, y + height + 17, number, colour))
    notes = (
        "The service hands step 1 to a Renderer, which runs 2 to 7 (on a GPU as one CUDA graph), and hands the "
        "frame back for 8 and 9.",
        "An avatar without a network (renderer texture) leaves out step 6.",
    )
    for row, note in enumerate(notes):
        lines.append(text(MARGIN, y + height + 52 + 18 * row, note, size=12, colour=QUIET))
    return lines


def draw(doors: dict[str, tuple[str, ...]]) -> str:
    """The whole picture as SVG text. ValueError where a room of the table has no place here, or the reverse."""
    if set(doors) != set(ROOMS):
        raise ValueError(
            f"{', '.join(sorted(set(doors) ^ set(ROOMS)))}: rooms must be both in DOORS of {TABLE.name} and "
            f"in ROOMS of {pathlib.Path(__file__).name}"
        )
    floor_of = floors(doors)
    placed = boxes(floor_of)
    bottom = TOP + (max(floor_of.values()) + 1) * FLOOR_HEIGHT
    height = bottom + 190
    body = [
        f'<rect width="{WIDTH}" height="{height}" rx="14" fill="{PAPER}"/>',
        text(MARGIN, 44, "dinar-live: rooms and doors", size=22, weight=700),
        text(
            MARGIN,
            68,
            "A room imports only rooms on lower floors, and only those that it names. The numbers are steps of the path below.",
            colour=QUIET,
        ),
    ]
    for room, box in placed.items():
        body += draw_room(room, box, doors[room])
    body += draw_path(bottom + 46)
    return (
        "<!-- made by docs/architecture.py; do not edit -->\n"
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="Rooms of dinar-live, who may import whom, and the path of a frame" '
        f'font-family="{FONT}">\n' + "\n".join(body) + "\n</svg>\n"
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(read_doors()), encoding="utf-8", newline="\n")
    print(PICTURE)
