"""Dashboard, alert rules, proxy, units and manifests in deploy/ fit the code and their schemas."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import typer
import yaml
from conftest import ROOT
from kubernetes_validate import validate

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.serving.app import create_app
from crypto_anomaly.serving.cli import app

sys.path.insert(0, str(ROOT / "tools"))
import cloud_run
from reference import metrics

DEPLOY = ROOT / "deploy"
SERIES = {name for family in metrics.families() for name in metrics.series(family)}
WORDS = re.compile(r"\b(?:crypto_anomaly|blink)_\w+")


def queries() -> list[str]:
    """Every PromQL expression of the rules and of the dashboard."""
    rules = yaml.safe_load((DEPLOY / "prometheus-alerts.yml").read_text())
    found = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    board = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    return found + [t["expr"] for panel in board["panels"] for t in panel["targets"]]


def test_every_metric_that_is_queried_exists():
    assert len(queries()) > 20
    for query in queries():
        assert set(WORDS.findall(query)) <= SERIES, query


def test_every_metric_is_on_the_dashboard():
    shown = " ".join(queries())
    for family in metrics.families():
        assert any(name in shown for name in metrics.series(family)), family.name


def test_labels_that_are_queried_exist():
    known = {label for labels in metrics.labels().values() for label in labels} | {"le", "job"}
    for query in queries():
        by = re.findall(r"by \(([^)]*)\)", query)
        filters = re.findall(r"(\w+)(?:=~|!=|=)\"", query)
        used = {name.strip() for names in by for name in names.split(",")} | set(filters)
        assert used <= known, query


def test_rules_say_what_to_do():
    rules = yaml.safe_load((DEPLOY / "prometheus-alerts.yml").read_text())
    for rule in rules["groups"][0]["rules"]:
        assert rule["for"] and rule["labels"]["severity"] in ("page", "ticket"), rule["alert"]
        assert {"summary", "action"} <= rule["annotations"].keys(), rule["alert"]


def test_panels_do_not_lie_on_each_other():
    panels = json.loads((DEPLOY / "grafana-dashboard.json").read_text())["panels"]
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not taken & cells, panel["title"]
        taken |= cells


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_promtool_accepts_the_rules():
    subprocess.run(["promtool", "check", "rules", DEPLOY / "prometheus-alerts.yml"], check=True)


def tried_nginx(conf: str, folder) -> subprocess.CompletedProcess[str]:
    """What nginx says of a configuration whose files and names exist in `folder`."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=x"]
        + ["-keyout", folder / "privkey.pem", "-out", folder / "fullchain.pem"],
        check=True,
        capture_output=True,
    )
    (folder / "crypto-anomaly.token").write_text('set $api_token "token";\n')
    (folder / "crypto-anomaly.htpasswd").write_text("ada:{PLAIN}secret\n")
    text = (DEPLOY / conf).read_text()
    text = text.replace("/etc/nginx/tls/", f"{folder}/").replace("/etc/nginx/", f"{folder}/")
    text = re.sub(r"server (?:app|challenger):", "server 127.0.0.1:", text)
    (folder / "nginx.conf").write_text(f"pid {folder}/pid;\nerror_log stderr;\n{text}")
    command = [shutil.which("nginx"), "-t", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    return subprocess.run([*command, "-e", "stderr"], capture_output=True, text=True, check=False)


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")
@pytest.mark.parametrize("conf", ["nginx.conf", "nginx-tls.conf"])
def test_nginx_accepts_the_configuration(conf, tmp_path):
    said = tried_nginx(conf, tmp_path)
    assert "syntax is ok" in said.stderr, said.stderr


def test_nothing_but_tls_is_served_by_the_proxy():
    text = (DEPLOY / "nginx-tls.conf").read_text()
    assert "return 301 https://" in text and "TLSv1.2 TLSv1.3" in text
    assert "SSLv" not in text and "TLSv1;" not in text


@pytest.mark.parametrize("unit", ["crypto-anomaly.service", "crypto-anomaly-stream.service"])
def test_systemd_accepts_the_unit(unit, tmp_path):
    text = (DEPLOY / "systemd" / unit).read_text()
    assert "User=crypto-anomaly" in text and "NoNewPrivileges=yes" in text
    assert text.startswith("#") and f"enable --now {unit.removesuffix('.service')}\n" in text
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    program = sys.executable  # any program that can be executed
    path = tmp_path / unit
    path.write_text(re.sub(r"ExecStart=\S+", f"ExecStart={program}", text))
    said = subprocess.run(
        ["systemd-analyze", "--man=no", "verify", path], capture_output=True, text=True, check=False
    )
    ours = [line for line in said.stderr.splitlines() if unit in line]
    assert said.returncode == 0 and ours == [], said.stderr


def manifests() -> list[dict]:
    """The objects of deploy/kubernetes.yaml."""
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))


@pytest.mark.parametrize("m", manifests(), ids=lambda m: f"{m['kind']}-{m['metadata']['name']}")
def test_kubernetes_accepts_it(m):
    validate(m, "1.30", strict=True)


def test_pods_are_confined_and_references_lead_somewhere():
    made = manifests()
    names = {(m["kind"], m["metadata"]["name"]) for m in made}
    known = {f"CRYPTO_ANOMALY_{name.upper()}" for name in Settings.model_fields}
    settings = next(m for m in made if m["kind"] == "ConfigMap")
    assert settings["data"].keys() <= known
    for m in (m for m in made if m["kind"] == "Deployment"):
        pod = m["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert (
            m["spec"]["selector"]["matchLabels"].items()
            <= m["spec"]["template"]["metadata"]["labels"].items()
        )
        for box in pod["containers"]:
            assert box["resources"]["limits"] and box["livenessProbe"]
            assert box["securityContext"]["readOnlyRootFilesystem"]
            assert ("ConfigMap", box["envFrom"][0]["configMapRef"]["name"]) in names
            assert {v["name"] for v in box["volumeMounts"]} <= {v["name"] for v in pod["volumes"]}


CLOUD = yaml.safe_load((DEPLOY / "cloud-run.yaml").read_text())
REVISION = CLOUD["spec"]["template"]


def test_the_cloud_service_is_a_knative_service():
    """Its revision is a pod with two more fields, so the schema of Kubernetes can judge it."""
    assert (CLOUD["apiVersion"], CLOUD["kind"]) == ("serving.knative.dev/v1", "Service")
    assert CLOUD.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert CLOUD["spec"].keys() <= {"template", "traffic"}
    pod = copy.deepcopy(REVISION["spec"])
    assert 1 <= pod.pop("containerConcurrency") <= 1000 and 1 <= pod.pop("timeoutSeconds") <= 3600
    box = pod["containers"][0]
    for probe in ("startupProbe", "livenessProbe"):
        box[probe]["httpGet"]["port"] = 8000  # Knative takes the port of the container
    one = dict(apiVersion="v1", kind="Pod", metadata=dict(name="x"), spec=pod)
    validate(one, "1.30", strict=True)
    assert len(pod["containers"]) == 1 and len(box["ports"]) == 1
    assert box["ports"][0]["name"] in ("http1", "h2c")
    scale = {k.split("/")[1]: v for k, v in REVISION["metadata"]["annotations"].items()}
    assert 1 <= int(scale["minScale"]) <= int(scale["maxScale"])


def test_the_cloud_service_fits_the_app():
    box = REVISION["spec"]["containers"][0]
    known = {f"CRYPTO_ANOMALY_{name.upper()}" for name in Settings.model_fields}
    bucket = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    given = {e["name"]: e for e in box["env"]}
    assert len(given) == len(box["env"]) and given.keys() <= known | bucket | {"AWS_DEFAULT_REGION"}
    secret = {"API_TOKEN", "DB_URL", "TRADES_URL"}
    for name in {f"CRYPTO_ANOMALY_{s}" for s in secret} | bucket:
        assert "value" not in given[name] and given[name]["valueFrom"]["secretKeyRef"]["key"], name
    plain = {name: e["value"] for name, e in given.items() if "value" in e}
    ours = {n.removeprefix("CRYPTO_ANOMALY_").lower(): v for n, v in plain.items() if n in known}
    assert Settings(**ours).source == "coingecko"
    paths = create_app().openapi()["paths"]
    for probe in ("startupProbe", "livenessProbe"):
        assert "get" in paths[box[probe]["httpGet"]["path"]], probe
    words = box["args"]
    command = typer.main.get_command(app).commands[words[0]]
    options = {o for p in command.params for o in p.opts}
    assert {w for w in words if w.startswith("--")} <= options
    assert words[words.index("--port") + 1] == str(box["ports"][0]["containerPort"])
    assert words[words.index("--host") + 1] == "0.0.0.0"


def test_containers_of_compose_have_limits_and_no_root():
    services = yaml.safe_load((DEPLOY / "compose.yml").read_text())["services"]
    for name, service in services.items():
        assert service["mem_limit"] and service["healthcheck"], name
    assert services["app"]["cap_drop"] == ["ALL"] and services["app"]["read_only"]
    assert re.search(r"^USER app$", (DEPLOY / "Dockerfile").read_text(), re.M)


COMPOSE = yaml.safe_load((DEPLOY / "compose.yml").read_text())
OF_A_SERVICE = set(
    "build cap_drop command cpus depends_on env_file environment healthcheck image init logging "
    "mem_limit pids_limit ports profiles read_only restart security_opt tmpfs volumes".split()
)  # those of the Compose specification that are in use; a misspelt one is not in it
DURATION = re.compile(r"(\d+(us|ms|s|m|h))+")


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_service_of_compose_follows_the_specification(name):
    """No container engine is at hand: keys, types and references as the specification has them."""
    s = COMPOSE["services"][name]
    assert s.keys() <= OF_A_SERVICE and ("image" in s or "build" in s)
    assert s["restart"] in ("no", "always", "on-failure", "unless-stopped")
    assert re.fullmatch(r"\d+[bkmg]", s["mem_limit"])
    health = s["healthcheck"]
    assert health["test"][0] in ("CMD", "CMD-SHELL") and type(health["retries"]) is int
    assert health.keys() <= {"test", "interval", "timeout", "retries", "start_period"}
    for key in health.keys() - {"test", "retries"}:
        assert DURATION.fullmatch(health[key]), key
    for other, needs in s.get("depends_on", {}).items():
        assert needs.keys() <= {"condition", "required"}
        assert (
            needs["condition"] == "service_healthy" and "healthcheck" in COMPOSE["services"][other]
        )
        optional = set(COMPOSE["services"][other].get("profiles", [])) - set(s.get("profiles", []))
        assert not optional or needs["required"] is False, other
    for volume in s.get("volumes", []):
        source, target = volume.split(":")[:2]
        assert target.startswith("/")
        there = (
            (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
        )
        assert there, volume
    for port in s.get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)
    assert all(type(v) in (str, int, float) for v in s.get("environment", {}).values())
    assert set(s["logging"]) == {"driver", "options"}
    assert all(isinstance(v, str) for v in s["logging"]["options"].values())


def test_compose_as_a_whole_follows_the_specification():
    assert {key for key in COMPOSE if not key.startswith("x-")} == {"name", "services", "volumes"}
    text = (DEPLOY / "compose.yml").read_text()
    for name in set(re.findall(r"\$\{(\w+)", text)):
        for env in ("env.dev", "env.prod"):
            assert re.search(rf"^{name}=", (DEPLOY / env).read_text(), re.M), (name, env)
    build = COMPOSE["services"]["app"]["build"]
    assert ((DEPLOY / build["context"]) / build["dockerfile"]).exists()
    for source in re.findall(r"^COPY (.*) \S+$", (DEPLOY / "Dockerfile").read_text(), re.M):
        assert all((ROOT / name).exists() for name in source.split()), source


VALUES = dict(
    GCP_PROJECT="acme",
    GCP_REGION="europe-west1",
    GCP_REPOSITORY="images",
    LAKE_BUCKET="acme-lake",
    LAKE_REGION="eu-central-1",
    PAGES_HOST="market.acme.dev",
    IMAGE_TAG="4f2c",
)


def rendered(branch: str) -> dict:
    """The service that a push to a branch deploys."""
    return yaml.safe_load(cloud_run.rendered(branch, VALUES))


def test_a_push_to_main_deploys_the_service():
    service = rendered("main")
    box = service["spec"]["template"]["spec"]["containers"][0]
    assert service["metadata"]["name"] == "crypto-anomaly"
    assert box["image"] == "europe-west1-docker.pkg.dev/acme/images/crypto-anomaly:4f2c"
    values = [e["value"] for e in box["env"] if "value" in e]
    assert {"s3://acme-lake/lake", "https://market.acme.dev", "eu-central-1"} <= set(values)
    text = (DEPLOY / "cloud-run.yaml").read_text()
    capitals = set(re.findall(r"(?<![\w$])[A-Z]{4,}(?:-[A-Z]+)*(?!\w)", re.sub("#.*", "", text)))
    assert capitals == cloud_run.VALUES.keys()
    dumped = yaml.safe_dump(service)
    assert not [c for c in capitals if re.search(rf"\b{c}\b", dumped)]


def test_a_branch_shares_nothing_that_can_be_written():
    def writable(service):
        box = service["spec"]["template"]["spec"]["containers"][0]
        secrets = [e["valueFrom"]["secretKeyRef"]["name"] for e in box["env"] if "valueFrom" in e]
        urls = [e["value"] for e in box["env"] if e.get("value", "").startswith("s3://")]
        return {service["metadata"]["name"], *secrets, *urls}

    main, branch = rendered("main"), rendered("feature/New_Gate")
    assert branch["metadata"]["name"] == "crypto-anomaly-feature-new-gate"
    assert not writable(main) & writable(branch)
    assert len(cloud_run.service_name("feature/" + "x" * 99)) <= cloud_run.LONGEST
    given = branch["spec"]["template"]["spec"]["containers"][0]["env"]
    assert dict(name="OB_BRANCH", value="feature/New_Gate") in given


def test_a_value_that_is_missing_is_named():
    with pytest.raises(SystemExit, match="set LAKE_BUCKET, IMAGE_TAG"):
        cloud_run.rendered("main", VALUES | dict(LAKE_BUCKET="", IMAGE_TAG=""))


def test_workflows_can_be_read():
    for path in (ROOT / ".github/workflows").glob("*.yml"):
        jobs = yaml.safe_load(path.read_text())["jobs"]
        assert all(job["timeout-minutes"] for job in jobs.values() if "steps" in job), path


CONTAINER = """
mount --make-rprivate /
for folder in {read_only}; do
  mount --bind $folder $folder && mount -o remount,ro,bind $folder
done
exec "$@"
"""


def image_settings(folder) -> dict[str, str]:
    """What the image sets, with its /data and /tmp in `folder`."""
    text = (DEPLOY / "Dockerfile").read_text()
    found = dict(re.findall(r"(\w+)=(\S+)", " ".join(re.findall(r"^ENV (.*)$", text, re.M))))
    assert re.search(r"^VOLUME /data$", text, re.M) and "/data" in found.values()
    return {name: re.sub(r"^/(data|tmp)\b", rf"{folder}/\1", v) for name, v in found.items()}


def can_mount() -> bool:
    """Whether a process may make its own view of the file system."""
    if not shutil.which("unshare"):
        return False
    tried = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return tried.returncode == 0


@pytest.mark.skipif(not can_mount(), reason="needs root and unshare")
def test_it_runs_where_only_data_and_tmp_can_be_written(tmp_path):
    """As in a container with a read-only file system: no compiled code is there, nor a home."""
    for name in ("data", "tmp", "site", "home"):
        (tmp_path / name).mkdir()
    for name in ("crypto_anomaly", "scheduled"):
        without = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / "site" / name, ignore=without)
    closed = [tmp_path / "site", tmp_path / "home", sys.prefix, ROOT]
    script = CONTAINER.format(read_only=" ".join(str(folder) for folder in closed))
    start = "from crypto_anomaly.serving.program import main; main()"
    clean = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "site")}
    clean |= {"HOME": str(tmp_path / "home"), "CRYPTO_ANOMALY_SOURCE": "simulated"}

    def said(code: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-c", code, *words]
        return subprocess.run(
            command, cwd=tmp_path, env=clean | env, capture_output=True, text=True, timeout=300
        )

    bare = said("from crypto_anomaly.features.windows import load_compiled; load_compiled()")
    assert "no locator available" in bare.stderr  # what the image has to provide for
    made = said(start, "run", "ingest", "-p", "num_coins", "20", **image_settings(tmp_path))
    assert made.returncode == 0, made.stderr[-2000:]
    assert list((tmp_path / "data").rglob("*.parquet"))
