"""Runs the steps of the Dockerfile in a bare Debian root, for machines without a container engine. Needs root.

``debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm ROOT`` makes the root;
``python deploy/images/prove.py ROOT`` then does what each stage's COPY and RUN say, chrooted, and at the end starts
``python -m algotrade.cli --version`` as the image's user on what the runtime stage would hold.

It proves the steps, not the engine: layers, the base image itself, HEALTHCHECK and the read-only root are not tried.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
PASSED_ON = ("PIP_INDEX_URL", "PIP_CERT", "PIP_DEFAULT_TIMEOUT", "HTTPS_PROXY", "https_proxy", "SSL_CERT_FILE")


def instructions(text: str) -> list[tuple[str, str]]:
    """Return (instruction, arguments), comments and line breaks taken out."""
    lines = "\n".join(line for line in text.splitlines() if line and not line.startswith("#")).replace("\\\n", " ")
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1].strip()) for line in lines.splitlines()]


class Stage:
    """A directory that becomes a stage's root."""

    def __init__(self, root: Path) -> None:
        """Take the root."""
        self.root = root
        self.folder = "/"
        self.environment = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/root"}
        self.user: int | None = None

    def run(self, command: list[str]) -> None:
        """Run a command in it, as its user. Raises CalledProcessError."""
        passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ} if self.user is None else {}

        def enter() -> None:
            os.chroot(self.root)
            os.chdir(self.folder)
            if self.user is not None:
                os.setgroups([])
                os.setgid(self.user)
                os.setuid(self.user)

        subprocess.run(command, env=passed | self.environment, preexec_fn=enter, check=True)

    def copy(self, source: Path, target: str) -> None:
        """Copy a file or a folder to where it belongs."""
        place = self.root / (target.lstrip("/") if target.startswith("/") else f"{self.folder.lstrip('/')}/{target}")
        if source.is_dir():
            shutil.copytree(source, place, symlinks=True, dirs_exist_ok=True)
        else:
            folder = place if target.endswith("/") else place.parent
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder)


def main() -> None:
    """Do it."""
    base = Path(sys.argv[1]).resolve()
    stages: dict[str, Stage] = {}
    stage = Stage(base)
    for instruction, arguments in instructions((HERE / "Dockerfile").read_text()):
        sys.stdout.write(f"{instruction} {arguments[:100]}\n")
        sys.stdout.flush()
        if instruction == "FROM":
            name = arguments.partition(" AS ")[2] or "runtime"
            root = base.with_name(f"{base.name}-{name}")
            subprocess.run(["cp", "--archive", base, root], check=True)  # devices too
            stage = stages[name] = Stage(root)
            python = root / "usr/bin/python"
            if not python.exists():
                python.symlink_to("python3")  # the base image calls it so
            hosts = ("etc/resolv.conf", "etc/hosts", "etc/ssl/certs/ca-certificates.crt", "etc/pip.conf")
            for file in hosts:  # how this machine reaches a registry
                if (Path("/") / file).exists():
                    stage.copy(Path("/") / file, f"/{file}")
        elif instruction == "WORKDIR":
            stage.folder = arguments
            (stage.root / arguments.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif instruction == "ENV":
            for key, value in re.findall(r"(\w+)=(\S+)", arguments):
                stage.environment[key] = value.replace("$PATH", stage.environment["PATH"])
        elif instruction == "COPY":
            *sources, target = arguments.split()
            origin = HERE
            if sources[0].startswith("--from="):
                origin = stages[sources.pop(0).removeprefix("--from=")].root
            for source in sources:
                for found in sorted(origin.glob(source.lstrip("/"))):
                    stage.copy(found, target)
        elif instruction == "RUN":
            stage.run(["/bin/sh", "-c", arguments])
        elif instruction == "USER":
            stage.user = int(arguments.partition(":")[0])
    stage.folder = "/"
    stage.run(["python", "-m", "algotrade.cli", "--version"])
    stage.run(["python", "-c", "import algotrade.forward_test.build, algotrade.platform.healthcheck; print('imports')"])


if __name__ == "__main__":
    main()
