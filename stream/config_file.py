"""Reading a configuration from YAML, with errors that say where: file, line, key, value, and what was expected.

`${NAME}` in a value is taken from the environment (`$$` is a dollar sign). Values are shown as they stand in the
file, before that, and never where they may be a secret.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote

import yaml
from pydantic import BaseModel, ValidationError

from stream.config import Config
from stream.config_problem import ConfigError, inner_loc, key_text, problem_text, problems_of
from stream.uri import redact, without_address

MAX_BYTES = 4 << 20
MAX_PROBLEMS = 10
_MAX_NODES = 200_000  # an alias counts each time: a few lines of YAML can stand for billions of values

_VARIABLE = re.compile(r"\$(?:\$|\{([^}]*)\})")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_KEY = re.compile(r"pass|secret|token|credential", re.I)
_STRING = "tag:yaml.org,2002:str"

Loc = tuple[str | int, ...]


class _At(Exception):
    """A problem at a node, before there is a model to speak of."""

    def __init__(self, node: yaml.Node, text: str) -> None:
        super().__init__(text)
        self.node = node


def load_config(path: str | Path, environment: Mapping[str, str] | None = None) -> Config:
    """The configuration in a YAML file. Raises ConfigError; its text has a line for each problem."""
    path = Path(path)
    text = _read(path)
    environment = os.environ if environment is None else environment
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            raise ConfigError(f"{path}: the file is empty; expected at least `cameras:`")
        _check(node)
        written = {id(n): n.value for n in _nodes(node) if isinstance(n, yaml.ScalarNode)}
        for scalar in {id(n): n for n in _nodes(node)}.values():
            _substitute(scalar, environment)
        data = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None
    except _At as problem:
        key = key_text(_loc_of(node, problem.node) or ()) if node else ""
        raise ConfigError(f"{path}:{problem.node.start_mark.line + 1}: {key}{': ' if key else ''}{problem}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}:{node.start_mark.line + 1}: expected keys and values, such as `cameras:`")
    try:
        return Config.model_validate(data, context={"folder": path.absolute().parent})
    except ValidationError as error:
        lines = _problem_lines(path, node, problems_of(error), written)
        if len(lines) > MAX_PROBLEMS:
            lines[MAX_PROBLEMS:] = [f"{path}: and {len(lines) - MAX_PROBLEMS} more problems"]
        raise ConfigError("\n".join(lines)) from None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ConfigError(f"{path}: more than {MAX_BYTES >> 20} MiB is no configuration")
        return data.decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; give the path of a YAML file with `cameras:`") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8") from None


def _nodes(node: yaml.Node, above: tuple[yaml.Node, ...] = ()) -> Iterator[yaml.Node]:
    """The node and all below it. Raises ValueError where an alias stands inside what it stands for."""
    if any(node is parent for parent in above):
        raise ValueError(f"line {node.start_mark.line + 1}: an alias stands inside what it stands for")
    yield node
    if isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            yield from _nodes(value, (*above, node))
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _nodes(value, (*above, node))


def _check(root: yaml.Node) -> None:
    nodes = []
    for node in _nodes(root):  # all of it first: what is wrong inside an endless alias could not be placed
        nodes.append(node)
        if len(nodes) > _MAX_NODES:
            raise _At(root, "the file stands for too many values; use fewer aliases")
    for node in nodes:
        if not isinstance(node, yaml.MappingNode):
            continue
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _At(key, "expected a key, not a list or a mapping")
            if key.value in seen:
                raise _At(key, f"given twice, first in line {seen[key.value]}")
            seen[key.value] = key.start_mark.line + 1


def _substitute(node: yaml.Node, environment: Mapping[str, str]) -> None:
    """Put the environment's values for `${NAME}` into a string."""
    if not isinstance(node, yaml.ScalarNode) or node.tag != _STRING:
        return
    text = node.value

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return "$"
        if not _VARIABLE_NAME.fullmatch(name):
            raise _At(node, "${...} takes the name of an environment variable; write $$ for a dollar sign")
        if name not in environment:
            raise _At(node, f"the environment variable {name} is not set")
        # A password in an address may hold any character; there it has to be written as %XX.
        userinfo = "://" in text[: match.start()] and "@" in text[match.end() :]
        return quote(environment[name], safe="") if userinfo else environment[name]

    node.value = _VARIABLE.sub(value, text)


def _problem_lines(
    path: Path, root: yaml.Node, problems: Sequence[Mapping[str, Any]], written: Mapping[int, str]
) -> list[str]:
    """One line for each place in the file; what the members of a union expect is joined."""
    texts: dict[Loc, list[str]] = {}
    for problem in problems:
        loc = _yaml_loc(root, inner_loc(problem))
        if problem["type"] == "missing":
            text = "missing"
        elif problem["type"] == "extra_forbidden":
            text = f"unknown key; {_known(loc)}"
        else:
            text = problem_text(problem)
        texts.setdefault(loc, []).append(text)
    lines = []
    for loc, words in texts.items():
        node, key = _find(root, loc)
        shown = ""
        if isinstance(node, yaml.ScalarNode) and not words[0].startswith("unknown key"):
            hidden = any(isinstance(part, str) and _SECRET_KEY.search(part) for part in loc)
            text = written.get(id(node), node.value)
            text = without_address(text) if loc[-1:] == ("uri",) else redact(text)
            shown = " ***:" if hidden else f" {text!r}:"
        lines.append(f"{path}:{(key or node).start_mark.line + 1}: {key_text(loc)}:{shown} {', or '.join(words)}")
    return lines


def _yaml_loc(root: yaml.Node, loc: Loc) -> Loc:
    """`loc` without what pydantic adds to it: the names of a union's members."""
    kept: list[str | int] = []
    node: yaml.Node | None = root
    for number, part in enumerate(loc):
        inside = _child(node, part)[0] if node else None
        if inside is None and number < len(loc) - 1:
            continue
        if inside is None and not isinstance(node, yaml.MappingNode):
            continue
        kept.append(part)
        node = inside or node
    return tuple(kept)


def _find(root: yaml.Node, loc: Loc) -> tuple[yaml.Node, yaml.Node | None]:
    """The node at `loc`, or the nearest above, and the node of its key."""
    node, key = root, None
    for part in loc:
        inside, inside_key = _child(node, part)
        if inside is None:
            break
        node, key = inside, inside_key
    return node, key


def _loc_of(root: yaml.Node, sought: yaml.Node) -> Loc | None:
    """The way from `root` to a value, or to a key."""
    if root is sought:
        return ()
    inside: list[tuple[str | int, yaml.Node, yaml.Node | None]] = []
    if isinstance(root, yaml.MappingNode):
        inside = [
            (str(key.value) if isinstance(key, yaml.ScalarNode) else "?", value, key) for key, value in root.value
        ]
    elif isinstance(root, yaml.SequenceNode):
        inside = [(number, value, None) for number, value in enumerate(root.value)]
    for part, value, key in inside:
        rest = () if key is sought else _loc_of(value, sought)
        if rest is not None:
            return (part, *rest)
    return None


def _child(node: yaml.Node, part: str | int) -> tuple[yaml.Node | None, yaml.Node | None]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return value, key
    elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], None
    return None, None


def _known(loc: Loc) -> str:
    """The keys that may stand where the unknown one does."""
    model = _model_at(Config, loc[:-1])
    if model is None:
        return "remove it"
    names = list(model.model_fields)
    close = difflib.get_close_matches(str(loc[-1]), names, 1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(names)}"


def _model_at(model: type[BaseModel], loc: Sequence[str | int]) -> type[BaseModel] | None:
    for part in loc:
        if isinstance(part, int) or part not in model.model_fields:
            continue  # an element of a list or a key of a mapping: its type was found with the list's
        inside = _model_in(model.model_fields[part].annotation)
        if inside is None:
            return None
        model = inside
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model in `X`, `tuple[X, ...]`, `dict[str, X]` or `X | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)
