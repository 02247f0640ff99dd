"""Every endpoint, from the OpenAPI document of the serving app."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from crypto_anomaly.serving.app import create_app

from .text import cell, code, sentence, table

SERVER = "http://127.0.0.1:8000"
EXAMPLES = {
    "name": "anomaly_detector",
    "model": "anomaly_detector",
    "version": "v1",
    "version_a": "v1",
    "version_b": "v2",
    "v1": "v1",
    "v2": "v2",
    "verb": "approve",
    "coin": "bitcoin",
    "by": "ada",
    "reason": "gates",
    "id": "1",
    "ids": [1],
    "stage": "train",
    "alias": "champion",
    "says": "useful",
}
MEANINGS = {
    "coin": "id, or a symbol that only one coin has",
    "num_coins": "how many of the biggest coins to fetch",
    "limit": "at most so many",
    "name": "name of the model or of the data",
    "version": "a number such as v3, or an alias such as champion, latest or latest-1",
    "version_a": "a version; + = it is better",
    "version_b": "the version it is compared with",
    "v1": "a version; + = it is better",
    "v2": "the version it is compared with",
    "dataset": "the rows to compare on, such as eval_holdout:v3; none = the newest holdout",
    "model": "name of the model",
    "verb": "what is done",
    "by": "who acts; needed unless the token has a name",
    "reason": "why; a decision, an end of a trial, a rollback and a retirement need one",
    "request": "number of the request that was seen; 409 where it is another one now",
    "expect_status": "status that was seen; 409 where it has moved",
    "expect_champion": "champion that was seen; 409 where it is another one now",
    "alias": "alias that is pointed at the version",
    "to": "version that a rollback brings back; none = the previous champion",
    "confirm_worse": "yes, although the evaluation says that it is worse than the champion",
    "status": "which of them",
    "audience": "whose alerts",
    "tier": "1 = alert, 2 = severe alert",
    "rated": "how people rated it; no = not yet",
    "q": "text in the subject or the reason",
    "part": "the rows only, without the page around them",
    "id": "number of the alert",
    "ids": "numbers of alerts; all of them or none",
    "says": "what it was worth",
    "snooze_hours": "silent for so long",
    "close": "end the episode",
    "stage": "name of the stage",
    "run_id": "id of the run",
    "exchange": "name of the exchange; none = all",
    "product": "such as BTC-USD; none = the first of the setting",
    "minutes": "how far back",
}  # what the code has no description for


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document; no workspace is opened for it."""
    return create_app().openapi()


def endpoints() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and operation of every endpoint."""
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema, with a reference followed."""
    name = schema.get("$ref", "").rpartition("/")[2]
    return document()["components"]["schemas"][name] if name else schema


def type_text(schema: dict[str, Any]) -> str:
    """A type in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        kinds = [type_text(s) for s in schema["anyOf"] if s.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema:
        return " \\| ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {type_text(schema.get('items', {}))}"
    return str(schema.get("type", "any"))


def default_text(schema: dict[str, Any]) -> str:
    """A default that says something."""
    value = schema.get("default")
    return "" if value in (None, "") else code(value)


def meaning(name: str, described: str) -> str:
    """What a field means; a name without a meaning is an error of this page."""
    return cell(described or MEANINGS[name])


def parameter_rows(operation: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row for each parameter of the path and the query."""
    rows = []
    for p in operation.get("parameters", []):
        where = "needed" if p.get("required") else default_text(p["schema"])
        rows.append(
            (
                code(p["name"]),
                f"{p['in']}, {type_text(p['schema'])}",
                where,
                meaning(p["name"], p.get("description", "")),
            )
        )
    return rows


def body_rows(operation: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row for each field of a JSON body."""
    content = operation.get("requestBody", {}).get("content", {})
    rows = []
    for kind in content.values():
        schema = resolved(kind["schema"])
        needed = schema.get("required", [])
        for name, field in schema.get("properties", {}).items():
            where = "needed" if name in needed else default_text(field)
            said = meaning(name, field.get("description", ""))
            rows.append((code(name), f"body, {type_text(field)}", where, said))
    return rows


def answer_rows(operation: dict[str, Any]) -> str:
    """What an endpoint answers, by status."""
    parts = []
    for status, answer in operation.get("responses", {}).items():
        schemas = [c["schema"] for c in answer.get("content", {}).values() if c.get("schema")]
        names = [type_text(s) for s in schemas if type_text(s) not in ("any", "object", "string")]
        said = sentence(answer.get("description", ""))
        parts.append(f"{status} {cell(said)}{' (' + code(names[0]) + ')' if names else ''}")
    return "; ".join(parts)


def example_of(path: str, name: str) -> Any:
    """A value for a field."""
    if name == "name" and path.startswith("/data/"):
        return "training_dataset"
    return EXAMPLES.get(name, name.upper())


def address_of(path: str, operation: dict[str, Any]) -> str:
    """An address that can be asked: path and needed query filled in, and who acts and why."""
    query = []
    address = path
    for p in operation.get("parameters", []):
        value = str(example_of(path, p["name"]))
        if p["in"] == "path":
            address = address.replace("{" + p["name"] + "}", value)
        elif p["in"] == "query" and (p.get("required") or p["name"] in ("by", "reason")):
            query.append(f"{p['name']}={value}")
    return address + ("?" + "&".join(query) if query else "")


def example_body(path: str, operation: dict[str, Any]) -> dict[str, Any]:
    """The needed fields of a JSON body, and who acts and why; {} where there is no body."""
    wanted = ("version", "by", "reason", "says")
    rows = body_rows(operation)
    return {
        name.strip("`"): example_of(path, name.strip("`"))
        for name, _, where, _ in rows
        if where == "needed" or name.strip("`") in wanted
    }


def curl(path: str, method: str, operation: dict[str, Any]) -> str:
    """A command that calls an endpoint."""
    words = ["curl -s"]
    if method == "post":
        words.append('-X POST -H "Authorization: Bearer $TOKEN"')
    body = example_body(path, operation)
    if body:
        words.append(f"-H 'Content-Type: application/json' -d '{json.dumps(body)}'")
    return " ".join([*words, f"'{SERVER}{address_of(path, operation)}'"])


def endpoint_section(path: str, method: str, operation: dict[str, Any]) -> str:
    """The section of one endpoint."""
    purpose = sentence(operation.get("description") or operation.get("summary", ""))
    rows = parameter_rows(operation) + body_rows(operation)
    lines = [
        f"### {method.upper()} {path}",
        purpose,
        f"```sh\n{curl(path, method, operation)}\n```",
    ]
    if rows:
        lines.append(table(["field", "where, type", "default", "meaning"], rows))
    lines.append(f"Answers: {answer_rows(operation)}")
    return "\n\n".join(lines)


def group_of(operation: dict[str, Any]) -> str:
    """The section that an endpoint belongs to."""
    return str((operation.get("tags") or ["other"])[0])


def cells() -> list[str]:
    """The cells of the page."""
    intro = (
        f"`crypto-anomaly serve` answers at {SERVER}; `/docs` there is the same list to try "
        f"out. What "
        "changes something needs `Authorization: Bearer TOKEN`: the token is in the file "
        "`api_token` of "
        "the workspace, or `crypto-anomaly token add --name ada --role decide` makes one. An "
        "error is "
        "JSON with `detail`: 401 without a token, 403 for a role that may not, 404 for what "
        "does not "
        "exist, 409 for what is not possible now, 422 for a wrong value (an unknown "
        "parameter included), "
        "429 for too many requests, 503 while something is not there yet, with `Retry-After`."
    )
    groups: dict[str, list[str]] = {}
    for path, method, operation in endpoints():
        groups.setdefault(group_of(operation), []).append(endpoint_section(path, method, operation))
    out = [intro]
    for name, sections in groups.items():
        out.append(f"## {name[0].upper()}{name[1:]}")
        out += sections
    schemas = document()["components"]["schemas"]
    out.append("## Shapes of answers\n\nFields of the JSON objects that are named above.")
    out += [shape(name, schema) for name, schema in sorted(schemas.items())]
    return [text for text in out if text]


def shape(name: str, schema: dict[str, Any]) -> str:
    """The fields of one JSON object; '' where it has none."""
    rows = [
        (code(f), type_text(s), cell(s.get("description", "")))
        for f, s in schema.get("properties", {}).items()
    ]
    if not rows:
        return ""
    said = cell(sentence(schema.get("description", "")))
    return f"### {name}\n\n{said}\n\n{table(['field', 'type', 'meaning'], rows)}"
