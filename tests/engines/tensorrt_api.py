"""What the real TensorRT bindings have, as data: run in a process of its own, `python tensorrt_api.py FOLDER
< names > api.json`.

FOLDER holds the installed wheel. Its native library wants three TensorRT libraries that are not to be had
everywhere; the caller puts empty ones with the nine functions it asks for on LD_LIBRARY_PATH, which is enough
to import it (and to make every call to TensorRT fail).
"""

import json
import re
import sys


def parameters(text: str) -> list[list[str]]:
    """Parameter names of each overload in a pybind docstring, without self."""
    found = []
    for signature in re.findall(r"^(?:\d+\. )?\w+\((.*)\) -> ", text or "", re.MULTILINE):
        depth, part, parts = 0, "", []
        for letter in signature + ",":
            depth += (letter in "[(<") - (letter in "])>")
            if letter == "," and depth == 0:
                parts.append(part)
                part = ""
            else:
                part += letter
        names = [p.split(":")[0].split("=")[0].strip().lstrip("*") for p in parts if p.strip()]
        found.append([name for name in names if name not in ("self", "args", "kwargs")])
    return found


def describe(module) -> dict:
    api = {"version": module.__version__, "classes": {}, "names": sorted(vars(module))}
    for name, value in vars(module).items():
        if not isinstance(value, type):
            continue
        members = {}
        for key in dir(value):
            member = getattr(value, key, None)
            if key == "__init__" or not key.startswith("_"):
                members[key] = {
                    "callable": callable(member) and not isinstance(member, type),
                    "settable": isinstance(member, property) and member.fset is not None,
                    "parameters": parameters(getattr(member, "__doc__", "")) if callable(member) else [],
                    "returns": re.findall(
                        r"\) -> (?:\w+\.)*(\w+)\s*$", getattr(member, "__doc__", None) or "", re.MULTILINE
                    ),
                }
        api["classes"][name] = {"members": members, "enum": sorted(getattr(value, "__members__", {}))}
        api["classes"][name] |= {"nested": sorted(k for k in vars(value) if isinstance(vars(value)[k], type))}
    return api


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    import tensorrt_bindings

    json.dump(describe(tensorrt_bindings), sys.stdout)
