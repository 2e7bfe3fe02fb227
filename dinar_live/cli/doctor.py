"""dinar doctor [--quick] [--json]"""

from __future__ import annotations

import argparse
import json
import sys

from dinar_live.doctor import BROKEN, MISSING, OK, Finding, as_json, findings, healthy

MARKS = {OK: "ok", MISSING: "--", BROKEN: "BROKEN"}
COLOURS = {OK: "\x1b[32m", MISSING: "\x1b[33m", BROKEN: "\x1b[31m"}
TITLES = {"cpu": "on the CPU", "stream": "streaming", "video": "video files", "gpu": "on an NVIDIA GPU"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="look only; do not render with each backend")
    parser.add_argument(
        "--all", action="store_true", help="list what belongs to an NVIDIA GPU also where there is none"
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args: argparse.Namespace) -> int:
    """Exit code 0 if nothing is broken (a missing GPU is not), else 1."""
    if args.json:
        found = list(findings(not args.quick))
        print(json.dumps(as_json(found), indent=1))
        return 0 if healthy(found) else 1
    found, part, no_gpu = [], "", False
    for finding in findings(not args.quick):
        found.append(finding)
        if finding.part == "gpu" and finding.name == "driver":
            no_gpu = finding.state != OK and not args.all
        if finding.part != part:
            part = finding.part
            print(f"\n{TITLES[part]}" if len(found) > 1 else TITLES[part])
        if not (no_gpu and part == "gpu") or finding.state == BROKEN:
            _show(finding)
        elif finding.name == "driver":
            print(f"  {'--':<7} not available: {finding.text} (dinar doctor --all lists the rest)")
    broken = [f.name for f in found if f.state == BROKEN]
    print(f"\n{len(broken)} broken: {', '.join(broken)}" if broken else "\nnothing is broken")
    return 0 if healthy(found) else 1


def _show(finding: Finding) -> None:
    mark = f"{MARKS[finding.state]:<7}"
    if sys.stdout.isatty():
        mark = f"{COLOURS[finding.state]}{mark}\x1b[0m"
    print(f"  {mark} {finding.name:<16} {finding.text}", flush=True)
    if finding.fix:
        print(f"  {'':<7} {'':<16} -> {finding.fix}", flush=True)
