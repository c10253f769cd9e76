"""`swinstream doctor`: what this machine can do, and what is wrong with a camera.

Nothing that may be missing is imported before it has been looked for, so that the command says what is missing
rather than failing by it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from stream.doctor.check import Check
from stream.doctor.libraries import needed_libraries
from stream.doctor.report import camera_table, check_table, verdict

OK, FAILED = 0, 1


def doctor(
    camera: str | None,
    config_path: Path | None,
    options: dict[str, str | None],
    transport: Literal["tcp", "udp", "auto"] | None,
    seconds: float,
    as_json: bool,
) -> int:
    """Returns the exit code: 0 if cameras (and this one) can be watched, 1 if not, 2 for wrong usage."""
    answer: dict[str, Any]
    libraries = needed_libraries()
    missing = [check.name for check in libraries if not check.ok]
    if missing:
        answer = {"engine": None, "reason": f"{', '.join(missing)} cannot be loaded", "checks": libraries}
    else:
        from stream.commands import guarded
        from stream.doctor.examination import examine

        with guarded(Console(stderr=True)) as code:
            answer = examine(camera, config_path, options, transport, seconds)
        if code[0] != OK:
            return code[0]
        answer["checks"] = [*libraries, *answer["checks"]]
    if as_json:
        sys.stdout.write(json.dumps({**answer, "checks": list(map(asdict, answer["checks"]))}) + "\n")
    else:
        _show(answer)
    return OK if _is_sound(answer) else FAILED


def _is_sound(answer: dict[str, Any]) -> bool:
    checks: list[Check] = answer["checks"]
    return all(check.ok for check in checks if check.needed) and answer.get("camera", {}).get("ok", True)


def _show(answer: dict[str, Any]) -> None:
    console = Console(highlight=False)
    console.print(check_table(answer["checks"]))
    if "camera" in answer:
        console.print()
        console.print(camera_table(answer["camera"]))
    console.print()
    console.print(verdict(answer))
