"""Deployment files (containers, Kubernetes, KubeRay, systemd) against schemas, tools and our own commands.

The image's steps are run by test_serving_only.py (no container daemon is needed for that).
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.__main__ import parse
from serving.api.asgi import ROUTERS
from serving.commands.serve import settings_of
from serving.settings import read_settings
from tests.serving.image_steps import command, health_command, instructions
from tests.waiting import free_port

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "serving" / "deployment"
SECRETS = {
    "RECSYS_API_KEY": "key",
    "POSTGRES_PASSWORD": "password",
    "GRAFANA_PASSWORD": "password",
    "RELEASE": "/tmp/release",
    "TLS": "/tmp/tls",
}


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def unit() -> dict[str, str]:
    lines = (FOLDER / "recommendations.service").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def served_by() -> dict[str, list[str]]:
    """The command line of each file, from ``python`` on."""
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    pod = documents("kubernetes.yaml")[0]["spec"]["template"]["spec"]["containers"][0]
    return {
        "Dockerfile": command(),
        "compose.yaml": compose["services"]["api"]["command"],
        "kubernetes.yaml": pod["args"],
        "recommendations.service": shlex.split(unit()["ExecStart"]),
    }


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml", "kubernetes.yaml", "recommendations.service"])
def test_the_command_line_is_one_that_the_server_takes(name: str) -> None:
    words = served_by()[name]
    assert words[1:4] == ["-m", "serving", "serve"]
    settings = settings_of(parse(words[3:]))
    assert settings.loopback == (name == "recommendations.service")


def test_the_container_has_no_rights_and_holds_no_secret() -> None:
    names = [name for name, _ in instructions()]
    assert names.index("USER") < names.index("CMD")
    assert dict(instructions())["USER"] != "root"
    for path in FOLDER.iterdir():
        text = path.read_text()
        assert "RECSYS_API_KEY: ${" in text or "RECSYS_API_KEY:" not in text, path
    container = documents("kubernetes.yaml")[0]["spec"]["template"]["spec"]["containers"][0]
    for variable in container["env"]:
        assert "secretKeyRef" in variable["valueFrom"], variable["name"]


def test_probes_ask_routes_that_exist() -> None:
    routes = {route.path for router in ROUTERS for route in router.routes}  # type: ignore[attr-defined]
    container = documents("kubernetes.yaml")[0]["spec"]["template"]["spec"]["containers"][0]
    probes = [container[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")]
    worker = documents("rayservice.yaml")[0]["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    probes.append(worker["template"]["spec"]["containers"][0]["readinessProbe"])
    assert {probe["httpGet"]["path"] for probe in probes} <= routes
    assert any(path in health_command()[-1] for path in routes)


def test_serve_takes_the_config_of_the_ray_service() -> None:
    from ray.serve.schema import ServeDeploySchema

    config = yaml.safe_load(documents("rayservice.yaml")[0]["spec"]["serveConfigV2"])
    ServeDeploySchema(**config)
    settings = read_settings(config["applications"][0]["args"], where="rayservice.yaml")
    assert not settings.loopback
    assert settings.experiment.state().arms[0].share == 1.0


@pytest.mark.system
def test_kubernetes_takes_the_manifests() -> None:
    """Against the API's published schemas, unknown fields refused."""
    import kubernetes_validate

    manifests = documents("kubernetes.yaml") + documents("rayservice.yaml")[1:]
    groups = documents("rayservice.yaml")[0]["spec"]["rayClusterConfig"]
    templates = [groups["headGroupSpec"]["template"], groups["workerGroupSpecs"][0]["template"]]
    pods = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"ray-{index}"}, **template}
        for index, template in enumerate(templates)
    ]
    for manifest in [*manifests, *pods]:
        kubernetes_validate.validate(manifest, "1.31", strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**pods[0], "spec": {"container": []}}, "1.31", strict=True)


@pytest.mark.system
def test_compose_takes_its_file() -> None:
    base = {"PATH": os.environ["PATH"]}
    words = ["docker-compose", "-f", str(FOLDER / "compose.yaml"), "config"]
    done = subprocess.run(words, env=base | SECRETS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    assert set(services) == set(yaml.safe_load(done.stdout)["services"])
    mounted = [text.split(":")[0] for service in services.values() for text in service.get("volumes", [])]
    for path in [path for path in mounted if path.startswith(".")]:
        assert (FOLDER / path).is_file(), path
    published = [text for service in services.values() for text in service.get("ports", [])]
    assert [text for text in published if not text.startswith("127.0.0.1:")] == ["8443:8443"]

    missing = base | {name: value for name, value in SECRETS.items() if name != "RECSYS_API_KEY"}
    refused = subprocess.run(words, env=missing, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "RECSYS_API_KEY" in refused.stderr


@pytest.mark.system
def test_prometheus_and_nginx_take_what_compose_gives_them(tmp_path: Path) -> None:
    shutil.copy(ROOT / "serving" / "monitoring" / "alerts.yml", tmp_path)
    key = tmp_path / "key"
    key.write_text("key")
    text = (FOLDER / "prometheus.yml").read_text().replace("/run/keys/api-key", str(key))
    (tmp_path / "prometheus.yml").write_text(text)
    subprocess.run(["promtool", "check", "config", tmp_path / "prometheus.yml"], check=True)

    tls = tmp_path / "data" / "tls"
    tls.mkdir(parents=True)
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost"
    files = ["-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run([*shlex.split(make), *files], cwd=tls, check=True, capture_output=True)
    script = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]["nginx"]["command"][2]
    for old, new in (
        ("/proxy/nginx.conf", str(ROOT / "serving" / "proxy" / "nginx.conf")),
        ("/proxy-data", str(tmp_path / "data")),
        (
            "exec nginx",
            f"sed -i 's/api:8000/localhost:{free_port()}/' {tmp_path}/data/nginx.conf && exec nginx -t",
        ),
    ):
        script = script.replace(old, new)
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "127.0.0.1:8000" not in (tmp_path / "data" / "nginx.conf").read_text()


@pytest.mark.system
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    text = (FOLDER / "recommendations.service").read_text()
    python = "/opt/recommendations/bin/python"
    assert python in text
    unit_file = tmp_path / "recommendations.service"
    unit_file.write_text(text.replace(python, sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit_file], capture_output=True, text=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if "recommendations.service" in line]
    assert ours == []
    unit_file.write_text(unit_file.read_text().replace("KillMode=mixed", "KillMode=sideways"))
    broken = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit_file], capture_output=True, text=True, check=False
    )
    assert "kill mode" in broken.stderr
