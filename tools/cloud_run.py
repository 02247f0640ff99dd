"""The service of a branch, from `deploy/cloud-run.yaml`: `python tools/cloud_run.py BRANCH`.

Prints the file with the values of GCP_PROJECT, GCP_REGION, GCP_REPOSITORY (of Artifact Registry),
LAKE_BUCKET, LAKE_REGION, PAGES_HOST and IMAGE_TAG in place of its capitals. The branch `main` is
the service crypto-anomaly. Every other branch has a service, a workspace, a folder of the bucket
and secrets of its own, which begin with the name of its service: it cannot write to what `main`
serves.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

SERVICE = Path(__file__).resolve().parent.parent / "deploy/cloud-run.yaml"
VALUES = {  # capitals in the file -> variable
    "REGION-OF-THE-BUCKET": "LAKE_REGION",
    "NAME-OF-THE-PAGES": "PAGES_HOST",
    "PROJECT": "GCP_PROJECT",
    "REPOSITORY": "GCP_REPOSITORY",
    "BUCKET": "LAKE_BUCKET",
    "REGION": "GCP_REGION",
}
MAIN = "main"
LONGEST = 49  # letters of the name of a service


def service_name(branch: str) -> str:
    """The service of a branch: small letters, digits and hyphens."""
    if branch == MAIN:
        return "crypto-anomaly"
    slug = re.sub(r"[^a-z0-9]+", "-", branch.lower()).strip("-")
    if not slug:
        raise SystemExit(f"branch {branch!r} names no service; use letters and digits")
    return f"crypto-anomaly-{slug}"[:LONGEST].rstrip("-")


def own_parts(branch: str, container: dict[str, Any]) -> None:
    """Give the service of a branch its own workspace, folder and secrets."""
    name = service_name(branch)
    for variable in container["env"]:
        if "valueFrom" in variable:
            secret = variable["valueFrom"]["secretKeyRef"]
            secret["name"] = secret["name"].replace("crypto-anomaly", name, 1)
        elif variable["value"].startswith("s3://"):
            bucket, _, folder = variable["value"].removeprefix("s3://").partition("/")
            variable["value"] = f"s3://{bucket}/{name}/{folder}"
    container["env"].append(dict(name="OB_BRANCH", value=branch))


def rendered(branch: str, env: Mapping[str, str]) -> str:
    """The service of a branch as YAML."""
    missing = [name for name in (*VALUES.values(), "IMAGE_TAG") if not env.get(name)]
    if missing:
        raise SystemExit(f"set {', '.join(missing)}; deploy/cloud-run.yaml says what each one is")
    text = SERVICE.read_text(encoding="utf-8")
    for capitals, name in VALUES.items():
        text = re.sub(rf"\b{capitals}\b", env[name], text)
    service = yaml.safe_load(text)
    service["metadata"]["name"] = service_name(branch)
    [container] = service["spec"]["template"]["spec"]["containers"]
    container["image"] = f"{container['image'].rpartition(':')[0]}:{env['IMAGE_TAG']}"
    if branch != MAIN:
        own_parts(branch, container)
    return yaml.safe_dump(service, sort_keys=False)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    print(rendered(sys.argv[1], os.environ), end="")
