"""Runs a command with a container engine from Debian, on a Linux machine without one.

`python3 .ci/debian_engine.py FOLDER COMMAND...` needs root and `debootstrap`. FOLDER keeps these between calls:

- Docker Engine, BuildKit and Compose in a Debian 13. They run in mount, process and network namespaces of their own, so
  nothing of this machine's network, cgroups or containers changes.
- Stand-ins for the official images, which a machine with only a package registry cannot pull. They are printed, and
  `docs/deployment.md` lists what differs.

The Dockerfile is built in this machine's network, because its steps download packages. COMMAND runs in a network of its
own; the variable DOCKER is the command of the engine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
STAND_INS = ROOT / ".ci" / "containers"
ENGINE_PACKAGES = (
    "docker.io",
    "docker-cli",
    "docker-compose",
    "docker-buildx",
    "iptables",
    "iproute2",
    "ca-certificates",
)
PYTHON_PACKAGES = ("ca-certificates", "python3", "python3-pip", "python3-venv", "python-is-python3")
PYTHON_IMAGE = "python:3.11-slim"
CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")
# The image of each stand-in, and how it differs from the official one.
DIFFERENCES = {
    PYTHON_IMAGE: "Debian 12 with its own Python 3.11 and pip 23.0, instead of Debian 13 with Python built from source",
    "postgres:18": "PostgreSQL 15 of Debian 12; a short entrypoint creates the cluster and runs the scripts",
    "redis:8-alpine": "Redis 7.0 of Debian 12",
    "apache/kafka:4.1.0": "the broker of our wheel, in memory; the two scripts are Kafka clients in Python",
}
_SECONDS_TO_START = 60
# The folder for temporary files of this machine is not in the chroot: health checks of containers would fail.
_OWN_TEMPORARY_FILES = ("env", "--unset=TMPDIR")
# In a folder that both mount namespaces see.
_SOCKET = "unix:///var/lib/docker-engine.sock"
_DAEMON = ("dockerd", "--host", _SOCKET, "--exec-opt", "native.cgroupdriver=cgroupfs")
# Without these, the engine would add a bridge and rules to this machine's network.
_NO_NETWORK = ("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-masq=false")


class EngineError(Exception):
    """The engine cannot run here."""


def bootstrap(folder: Path, suite: str, packages: Sequence[str]) -> None:
    """Install a Debian system into the folder, unless it is complete. Raises EngineError."""
    complete = folder.with_name(f"{folder.name}.complete")
    if complete.exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    print(f"installing Debian {suite} with {', '.join(packages)}", flush=True)
    log = folder.with_name(f"{folder.name}.log")
    with log.open("w") as output:
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", suite, str(folder)]
        if subprocess.run(command, stdout=output, stderr=output, check=False).returncode:
            raise EngineError(f"debootstrap failed; its log is {log}")
    # This machine may reach package registries through a proxy with a certificate of its own.
    shutil.copy(Path("/") / CERTIFICATES, folder / CERTIFICATES)
    complete.touch()


def in_namespaces(folder: Path, step: str, *arguments: str, private_network: bool) -> int:
    """Run a step of this script in namespaces of its own, with the engine. Returns its exit code."""
    network = ["--net"] if private_network else []
    unshare = ["unshare", "--mount", "--pid", "--fork", "--cgroup", "--kill-child", *network, "--"]
    script = [sys.executable, str(Path(__file__).resolve()), f"--{step}", str(folder), *arguments]
    return subprocess.run([*unshare, *script], check=False).returncode


def mount_engine(engine: Path) -> None:
    """Mount what the engine needs in its chroot, and the repository at its own path."""

    def mount(*words: str | Path) -> None:
        subprocess.run(["mount", *map(str, words)], check=True)

    mount("--make-rprivate", "/")
    mount("--bind", engine, engine)  # pivot_root needs a mount point
    mount("-t", "proc", "proc", engine / "proc")
    mount("-t", "proc", "proc", "/proc")
    mount("-t", "sysfs", "sysfs", engine / "sys")
    mount("--rbind", "/dev", engine / "dev")
    mount("-t", "tmpfs", "tmpfs", engine / "run")
    mount("-t", "cgroup2", "none", engine / "sys/fs/cgroup")
    repository = Path(f"{engine}{ROOT}")
    repository.mkdir(parents=True, exist_ok=True)
    mount("--bind", ROOT, repository)
    shutil.copy("/etc/resolv.conf", engine / "etc/resolv.conf")


def start_engine(engine: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start the daemon in the chroot, and wait until it answers. Raises EngineError."""
    mount_engine(engine)
    log = engine.with_name("dockerd.log")
    with log.open("w") as output:
        # Its folder must be the root of its mount namespace: from a mere chroot, `docker exec` reaches no container.
        pivot = 'mkdir -p .host && pivot_root . .host && umount -l /.host && exec chroot . "$0" "$@"'
        command = [*_OWN_TEMPORARY_FILES, "unshare", "--mount", "--", "sh", "-c", pivot, *_DAEMON, *options]
        daemon = subprocess.Popen(command, stdout=output, stderr=output, cwd=engine)
    for _ in range(_SECONDS_TO_START):
        if subprocess.run([*docker(engine), "version"], capture_output=True, check=False).returncode == 0:
            return daemon
        if daemon.poll() is not None:
            break
        time.sleep(1)
    raise EngineError(f"the engine does not start; its log is {log}")


def docker(engine: Path) -> list[str]:
    """The command of the engine."""
    return [*_OWN_TEMPORARY_FILES, "chroot", str(engine), "docker", "--host", _SOCKET]


def build(folder: Path) -> int:
    """Build the stand-ins and the image. Returns an exit code."""
    engine = folder / "engine"
    start_engine(engine, *_NO_NETWORK)

    def run(*words: str) -> None:
        subprocess.run([*docker(engine), *words], check=True)

    base = folder / "python"
    archive = subprocess.Popen(["tar", "-C", str(base), "-c", "."], stdout=subprocess.PIPE)
    path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    subprocess.run([*docker(engine), "import", "--change", path, "-", PYTHON_IMAGE], stdin=archive.stdout, check=True)
    if archive.wait():
        raise EngineError(f"{base} cannot be read")
    run("build", "--network=host", "--progress=plain", "--tag", "moovitamix", str(ROOT))
    for image in list(DIFFERENCES)[1:]:
        name = image.partition(":")[0].rpartition("/")[2]
        run("build", "--network=host", "--progress=plain", "--tag", image, str(STAND_INS / name))
    return 0


def run_command(folder: Path, command: Sequence[str]) -> int:
    """Run the command with the engine, in this network. Returns the exit code of the command."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    engine = folder / "engine"
    daemon = start_engine(engine)
    environment = os.environ | {"DOCKER": " ".join(docker(engine)), "IMAGES": "built"}
    try:
        return subprocess.run(command, env=environment, check=False).returncode
    finally:
        daemon.terminate()
        daemon.wait(60)


def main(arguments: Sequence[str]) -> int:
    """Install, build and run. Returns the exit code of the command."""
    if arguments[:1] == ["--build"]:
        return build(Path(arguments[1]))
    if arguments[:1] == ["--run"]:
        return run_command(Path(arguments[1]), arguments[2:])
    if len(arguments) < 2:
        print(__doc__)
        return 2
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise EngineError("run this as root, after: apt-get install debootstrap")
    folder, command = Path(arguments[0]).resolve(), arguments[1:]
    folder.mkdir(parents=True, exist_ok=True)
    bootstrap(folder / "engine", "trixie", ENGINE_PACKAGES)
    bootstrap(folder / "python", "bookworm", PYTHON_PACKAGES)
    if code := in_namespaces(folder, "build", private_network=False):
        return code
    print("\nThese images are stand-ins for the official ones:", flush=True)
    for image, difference in DIFFERENCES.items():
        print(f"  {image:<20}{difference}", flush=True)
    return in_namespaces(folder, "run", *command, private_network=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (EngineError, subprocess.CalledProcessError) as error:
        print(f"the container engine of Debian: {error}", file=sys.stderr)
        sys.exit(1)
