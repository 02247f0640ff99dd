"""What `deploy argo` writes.

It is held against the schemas that Argo and Kubernetes publish, and every reference is followed.
"""

import copy
import json
import re
import sys
from importlib.util import find_spec

import pytest
import yaml
from conftest import ROOT, need
from typer.testing import CliRunner

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.lifecycle.cluster import SECRETS, Cluster
from crypto_anomaly.lifecycle.deploy import argo_manifests, write_argo
from crypto_anomaly.lifecycle.runner import run_stage
from crypto_anomaly.lifecycle.schedule import CHAIN, SCHEDULE, TRADES, stages_due
from crypto_anomaly.lifecycle.stages import check_parameters, stage_parameters, stages
from crypto_anomaly.serving import cli, cli_lifecycle, cli_run

MADE = argo_manifests(
    Cluster(image="registry.example.org/crypto-anomaly:1"),
    settings=dict(lake_url="s3://bucket/lake"),
)


def argo_schema(m: dict) -> None:
    """hera's models are generated from Argo's published schema.

    JSON names only, no key and no type that is not in it.
    """
    need(find_spec("hera"), "hera")
    from hera.workflows import models

    getattr(models, m["kind"]).model_validate_json(
        json.dumps(m), strict=True, extra="forbid", by_alias=True, by_name=False
    )


def kubernetes_schema(m: dict) -> None:
    need(find_spec("kubernetes_validate"), "kubernetes-validate")
    from kubernetes_validate import validate

    validate(m, "1.30", strict=True)


def check_schema(m: dict) -> None:
    (argo_schema if m["apiVersion"].startswith("argoproj.io") else kubernetes_schema)(m)


def one(kind: str, name: str = "crypto-anomaly", among=None) -> dict:
    return next(m for m in among or MADE if (m["kind"], m["metadata"]["name"]) == (kind, name))


def walk(x, path=()):
    """Every key of nested dicts and lists, with its path and value."""
    for k, v in x.items() if isinstance(x, dict) else enumerate(x) if isinstance(x, list) else ():
        yield (*path, k), v
        yield from walk(v, (*path, k))


def names(parameters: list[dict]) -> set[str]:
    return {p["name"] for p in parameters}


def specs(m: dict) -> list[dict]:
    """The workflow inside a manifest, if it has one."""
    return (
        [m["spec"]]
        if m["kind"] == "WorkflowTemplate"
        else [m["spec"]["workflowSpec"]]
        if m["kind"] == "CronWorkflow"
        else []
    )


REFERENCES = dict(
    serviceAccountName="ServiceAccount",
    configMapRef="ConfigMap",
    secretKeyRef="Secret",
    secretRef="Secret",
    claimName="PersistentVolumeClaim",
    workflowTemplateRef="WorkflowTemplate",
    templateRef="WorkflowTemplate",
    roleRef="Role",
)


def dangling(made: list[dict]) -> list[str]:
    """References that lead nowhere."""
    there = {(m["kind"], m["metadata"]["name"]): m for m in made}
    bad = []
    for m in made:
        said = f"{m['kind']} {m['metadata']['name']}"
        for path, v in walk(m):
            if (kind := REFERENCES.get(path[-1])) and (
                kind,
                name := v if isinstance(v, str) else v["name"],
            ) not in there:
                bad.append(f"{said}: no {kind} {name}")
            elif (
                path[-1] == "secretKeyRef"
                and v["key"] not in there["Secret", v["name"]]["stringData"]
            ):
                bad.append(f"{said}: no key {v['key']}")
        bad += [
            f"{said}: no account {s['name']}"
            for s in m.get("subjects", [])
            if ("ServiceAccount", s["name"]) not in there
            or s["namespace"] != m["metadata"]["namespace"]
        ]
        bad += [f"{said}: {b}" for w in specs(m) for b in dangling_workflow(w, there)]
        if m["kind"] == "Role":
            bad += [
                f"{said}: no template {n}"
                for r in m["rules"]
                for n in r.get("resourceNames", [])
                if ("WorkflowTemplate", n) not in there
            ]
        if (
            m["kind"] == "WorkflowEventBinding"
            and ("WorkflowTemplate", m["spec"]["submit"]["workflowTemplateRef"]["name"]) in there
        ):
            t = there["WorkflowTemplate", m["spec"]["submit"]["workflowTemplateRef"]["name"]][
                "spec"
            ]["arguments"]["parameters"]
            given = names(m["spec"]["submit"]["arguments"]["parameters"])
            bad += [
                f"{said}: parameter {n}"
                for n in (given - names(t)) | ({p["name"] for p in t if "value" not in p} - given)
            ]
    return bad


def dangling_workflow(w: dict, there: dict) -> list[str]:
    """The same inside one workflow: entrypoint, parameters, volumes, the arguments of steps."""
    own = {t["name"]: t for t in w["templates"]}
    bad = [] if w["entrypoint"] in own else [f"no entrypoint {w['entrypoint']}"]
    for t in w["templates"]:
        inputs = names(t.get("inputs", {}).get("parameters", []))
        known = dict(inputs=inputs, workflow=names(w["arguments"]["parameters"]))
        text = json.dumps(t)
        found = re.findall(r"{{(\w+)\.parameters\.([\w-]+)}}", text)
        bad += [f"unreadable reference in {t['name']}"] if len(found) != text.count("{{") else []
        bad += [f"no {where} parameter {n}" for where, n in found if n not in known.get(where, ())]
        bad += [
            f"input {n} of {t['name']} is never used" for n in inputs if ("inputs", n) not in found
        ]
        bad += [
            f"no volume {v['name']}"
            for v in t.get("container", {}).get("volumeMounts", [])
            if v["name"] not in names(t.get("volumes", []))
        ]
        if (
            t["name"] == w["entrypoint"]
        ):  # the arguments of the workflow are those of its first template
            bad += [f"input {n} has no argument" for n in inputs - known["workflow"]]
        for step in (s for turn in t.get("steps", []) for s in turn):
            target = there.get(("WorkflowTemplate", step["templateRef"]["name"]))
            run = (
                {x["name"]: x for x in target["spec"]["templates"]}.get(
                    step["templateRef"]["template"]
                )
                if target
                else None
            )
            given = names(step["arguments"]["parameters"])
            bad += (
                [f"no template {step['templateRef']}"]
                if not run
                else [
                    f"argument {n} of {step['name']}"
                    for n in given ^ names(run["inputs"]["parameters"])
                ]
            )
    return bad


@pytest.mark.parametrize("m", MADE, ids=lambda m: f"{m['kind']}-{m['metadata']['name']}")
def test_the_published_schemas_accept_it(m):
    check_schema(m)


def objects(x, path=()):
    """Every object of a manifest in which the schema names the keys (not labels, not data)."""
    yield path, x
    for p, v in walk(x):
        if (
            isinstance(v, dict)
            and p[-1] not in ("labels", "data", "stringData")
            and not (p[-2:-1] in (("requests",), ("limits",)) or p[-1] in ("requests", "limits"))
        ):
            yield p, v


@pytest.mark.parametrize("kind", sorted({m["kind"] for m in MADE}))
def test_a_misspelt_key_is_refused_wherever_it_stands(kind):
    m = next(m for m in MADE if m["kind"] == kind)
    for path, _ in list(objects(m)):
        wrong = copy.deepcopy(m)
        at = wrong
        for k in path:
            at = at[k]
        at["mispelt"] = "x"
        with pytest.raises(Exception, match="mispelt"):
            check_schema(wrong)


@pytest.mark.parametrize(
    "old, new",
    [
        ("serviceAccountName", "service_account_name"),
        ("concurrencyPolicy", "concurencyPolicy"),
        ("secretKeyRef", "secretkeyRef"),
        ("activeDeadlineSeconds", "activeDeadlineSecond"),
        ("resourceNames", "resourcesNames"),
        ("accessModes", "accessMode"),
    ],
)
def test_a_key_of_ours_misspelt_is_refused(old, new):
    touched = [m for m in MADE if f'"{old}":' in json.dumps(m)]
    assert touched
    for m in touched:
        with pytest.raises(Exception, match=new):
            check_schema(json.loads(json.dumps(m).replace(f'"{old}":', f'"{new}":')))


@pytest.mark.parametrize(
    "path, value",
    [
        (("spec", "concurrencyPolicy"), 1),
        (("spec", "startingDeadlineSeconds"), "1800"),
        (("spec", "schedules"), "1 * * * *"),
    ],
)
def test_a_wrong_type_is_refused(path, value):
    m = copy.deepcopy(one("CronWorkflow", "crypto-anomaly-hourly"))
    m[path[0]][path[1]] = value
    with pytest.raises(ValueError, match=path[1]):
        check_schema(m)


SUBJECT = '"subjects": [{"kind": "ServiceAccount", "name": "crypto-anomaly-runner"'


def test_references_resolve():
    assert dangling(MADE) == []


@pytest.mark.parametrize(
    "old, new, says",
    [
        (
            '"serviceAccountName": "crypto-anomaly-runner"',
            '"serviceAccountName": "runner"',
            "no ServiceAccount runner",
        ),
        (
            '"templateRef": {"name": "crypto-anomaly-scan", "template": "run"}',
            '"templateRef": {"name": "crypto-anomaly-scan", "template": "main"}',
            "no template",
        ),
        (
            '"templateRef": {"name": "crypto-anomaly-train"',
            '"templateRef": {"name": "crypto-anomaly-trane"',
            "no WorkflowTemplate",
        ),
        ('"claimName": "crypto-anomaly"', '"claimName": "data"', "no PersistentVolumeClaim data"),
        (
            '"configMapRef": {"name": "crypto-anomaly"}',
            '"configMapRef": {"name": "settings"}',
            "no ConfigMap",
        ),
        ('"key": "CRYPTO_ANOMALY_DB_URL"', '"key": "DB_URL"', "no key DB_URL"),
        ('"entrypoint": "chain"', '"entrypoint": "main"', "no entrypoint main"),
        (
            "{{inputs.parameters.num_coins}}",
            "{{inputs.parameters.coins}}",
            "no inputs parameter coins",
        ),
        (
            "{{workflow.parameters.ingest_num_coins}}",
            "{{workflow.parameters.num_coins}}",
            "no workflow parameter num_coins",
        ),
        (
            "{{inputs.parameters.reason}}",
            "{{input.parameters.reason}}",
            "no input parameter reason",
        ),
        ('{"name": "reason", "valueFrom"', '{"name": "why", "valueFrom"', "parameter"),
        (
            '"resourceNames": ["crypto-anomaly-promote"',
            '"resourceNames": ["promote"',
            "no template promote",
        ),
        (
            '"kind": "Role", "name": "crypto-anomaly-events"}',
            '"kind": "Role", "name": "events"}',
            "no Role",
        ),
        (
            f'{SUBJECT}, "namespace": "crypto-anomaly"',
            f'{SUBJECT}, "namespace": "default"',
            "no account",
        ),
        (
            '"volumeMounts": [{"name": "data"',
            '"volumeMounts": [{"name": "store"',
            "no volume store",
        ),
    ],
)
def test_a_broken_reference_is_found(old, new, says):
    text = json.dumps(MADE)
    assert old in text
    assert any(says in b for b in dangling(json.loads(text.replace(old, new))))


def test_schedules_and_stages_are_those_of_the_pipeline():
    crons = {m["metadata"]["name"]: m["spec"] for m in MADE if m["kind"] == "CronWorkflow"}
    assert crons.keys() == {f"crypto-anomaly-{k}" for k in SCHEDULE}
    ran = [
        s["name"].replace("-", "_")
        for k in SCHEDULE
        for turn in crons[f"crypto-anomaly-{k}"]["workflowSpec"]["templates"][0]["steps"]
        for s in turn
    ]
    assert ran == [s for k in SCHEDULE for s in stages_due(k)]
    assert set(ran) == {
        *CHAIN,
        *TRADES,
    }
    assert {m["metadata"]["name"] for m in MADE if m["kind"] == "WorkflowTemplate"} == {
        f"crypto-anomaly-{s.replace('_', '-')}" for s in [*stages(), "rollback"]
    }
    for spec in crons.values():
        assert spec["concurrencyPolicy"] == "Forbid"
        assert spec["workflowSpec"]["activeDeadlineSeconds"] > 0


def filled(text: str, where: str, values: dict) -> str:
    return re.sub(rf"{{{{{where}\.parameters\.([\w-]+)}}}}", lambda m: values[m[1]], text)


def commands(name: str, made: list[dict]) -> list[list[str]]:
    """The commands of the pods of a CronWorkflow in their order.

    Parameters are handed down as Argo does it.
    """
    w = one("CronWorkflow", name, made)["spec"]["workflowSpec"]
    outer = {p["name"]: p["value"] for p in w["arguments"]["parameters"]}
    said = []
    for step in (s for turn in w["templates"][0]["steps"] for s in turn):
        inner = {
            p["name"]: filled(p["value"], "workflow", outer)
            for p in step["arguments"]["parameters"]
        }
        box = one("WorkflowTemplate", step["templateRef"]["name"], made)["spec"]["templates"][0][
            "container"
        ]
        said.append([*box["command"], *(filled(a, "inputs", inner) for a in box["args"])])
    return said


def test_a_schedule_hands_its_parameters_down():
    made = argo_manifests(
        parameters=dict(ingest=dict(num_coins=250), train=dict(contamination=0.02))
    )
    assert commands("crypto-anomaly-hourly", made) == [
        ["crypto-anomaly", "run", "ingest", "-p", "num_coins", "250", "-p", "as_of", "none"],
        ["crypto-anomaly", "run", "scan", "-p", "model_ref", "champion", "-p", "as_of", "none"],
    ]
    assert [c[2] for c in commands("crypto-anomaly-daily", made)] == [
        "build_dataset",
        "train",
        "evaluate",
    ]
    assert "-p contamination 0.02" in " ".join(commands("crypto-anomaly-daily", made)[1])


@pytest.mark.parametrize("stage", stages())
def test_a_pod_gives_the_notebook_its_own_defaults(stage, monkeypatch):
    """The arguments of the pod through the real command line, up to the runner."""
    given = {}
    monkeypatch.setattr(cli_run, "open_for_write", lambda **_: None)
    monkeypatch.setattr(cli_run, "open_with_source", lambda **_: None)
    monkeypatch.setattr(
        sys.modules[run_stage.__module__],
        "run_stage",
        lambda ws, s, p, **_: given.update(check_parameters(s, p)) or dict(stage=s),
    )
    w = one("WorkflowTemplate", f"crypto-anomaly-{stage.replace('_', '-')}")["spec"]
    values = {p["name"]: p["value"] for p in w["arguments"]["parameters"]}
    args = [filled(a, "inputs", values) for a in w["templates"][0]["container"]["args"]]
    r = CliRunner().invoke(cli.app, [*args, "--json"], catch_exceptions=False)
    assert json.loads(r.stdout) == dict(stage=stage)
    assert {k: repr(v) for k, v in given.items()} == {
        k: repr(eval(p["default"])) for k, p in stage_parameters(stage).items()
    }


def test_a_rollback_event_is_a_command_of_ours(monkeypatch):
    w = one("WorkflowTemplate", "crypto-anomaly-rollback")["spec"]
    args = w["templates"][0]["container"]["args"]
    said = {}

    class FakeRegistry:
        def rollback(self, **given):
            said.update(given)
            return dict(version=4, previous_holder=5)

    monkeypatch.setattr(cli_lifecycle, "open_model_registry", lambda model="": FakeRegistry())
    values = {"to": "4", "from": "5", "reason": "drift --to 9; rm -rf /"}
    r = CliRunner().invoke(cli.app, [filled(a, "inputs", values) for a in args])
    assert r.exit_code == 0
    assert said == dict(by="argo", to="4", from_version="5", reason=values["reason"])


def test_what_the_cluster_has_already_is_named_and_not_made():
    made = argo_manifests(
        Cluster(namespace="prod", secret="vault", claim="shared", storage_class="fast")
    )
    assert {b.split(": ")[1] for b in dangling(made)} == {
        "no Secret vault",
        "no PersistentVolumeClaim shared",
    }
    assert {m["metadata"]["namespace"] for m in made} == {"prod"}
    check_schema(argo_manifests(Cluster(storage_class="fast", access="ReadWriteOnce"))[7])


def test_nothing_secret_is_written_and_the_form_is_not_applied(tmp_path):
    files = write_argo(tmp_path / "argo", settings=dict(coingecko_plan="demo"))
    applied = "".join(f.read_text() for f in files if f.suffix in (".yaml", ".yml", ".json"))
    assert "stringData" not in applied
    assert (tmp_path / "argo/secret.yaml.example").exists()
    form = yaml.safe_load((tmp_path / "argo/secret.yaml.example").read_text())["stringData"]
    assert form == SECRETS
    assert all("<" in v for v in form.values())


def test_least_privilege():
    rules = [r for m in MADE if m["kind"] == "Role" for r in m["rules"]]
    assert not any("*" in json.dumps(r) or r["apiGroups"] != ["argoproj.io"] for r in rules)
    pods = [t for m in MADE for w in specs(m) for t in w["templates"] if "container" in t]
    assert all(
        t["securityContext"]["runAsNonRoot"]
        and t["activeDeadlineSeconds"]
        and t["container"]["resources"]["limits"]
        and t["retryStrategy"]["limit"]
        for t in pods
    )
    assert "CRYPTO_ANOMALY_API_TOKEN" not in json.dumps(pods)


def test_the_command_writes_both(tmp_path):

    def deploy(*args):
        return CliRunner().invoke(cli.app, ["deploy", *args])

    image = ("--image", "r/x:1")
    r = deploy("argo", "--out", str(tmp_path / "a"), *image, "--set", "train.contamination=0.02")
    assert r.exit_code == 0
    made = [m for f in (tmp_path / "a").glob("*.yaml*") for m in yaml.safe_load_all(f.read_text())]
    assert dangling(made) == []
    daily = one("CronWorkflow", "crypto-anomaly-daily", made)["spec"]["workflowSpec"]
    values = {p["name"]: p["value"] for p in daily["arguments"]["parameters"]}
    assert values["train_contamination"] == "0.02"
    assert deploy("compose", "--out", str(tmp_path / "c"), *image).exit_code == 0
    files = {p.name for p in (tmp_path / "c").iterdir()}
    assert files == {"compose.yml", "nginx.conf", "env.dev", "env.prod"}
    assert "r/x:1" in (tmp_path / "c/compose.yml").read_text()
    assert "cannot read --set" in str(deploy("argo", "--set", "ingest").exception)


def test_compose_is_whole():
    """No engine here to start it: what can be read off the files.

    Every service is restarted, rotates its log and has a health check; settings are known; nginx
    has a backup on each side.
    """
    folder = ROOT / "deploy"
    compose = yaml.safe_load((folder / "compose.yml").read_text())
    assert {
        "app",
        "challenger",
        "scheduler",
        "stream",
        "desk",
        "postgres",
        "redis",
        "mlflow",
        "split",
    } <= compose["services"].keys()
    for name, s in compose["services"].items():
        assert s["logging"]["options"] == {"max-size": "10m", "max-file": "3"}, name
        assert s["restart"], name
        assert "healthcheck" in s or name == "split", name
        assert all(p.startswith("127.0.0.1:") for p in s.get("ports", [])), name
        assert all(d in compose["services"] for d in s.get("depends_on", {})), name
    known = {f"CRYPTO_ANOMALY_{k.upper()}" for k in Settings.model_fields} | {
        "POSTGRES_PASSWORD",
        "COMPOSE_PROFILES",
    }
    for env in ("env.dev", "env.prod"):
        given = {
            line.split("=")[0]
            for line in (folder / env).read_text().splitlines()
            if "=" in line and not line.startswith("#")
        }
        assert given <= known, given - known
    assert "sslmode=require" in (folder / "env.prod").read_text()
    assert (folder / "nginx.conf").read_text().count("backup") == 2
