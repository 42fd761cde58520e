"""Generate the Python stubs: `python protos/generate.py`, or `--check` to see whether the committed ones are fresh.

protoc writes into an empty folder; that folder then replaces the two generated packages whole, so that a stub whose
proto is gone does not stay behind.
"""

from __future__ import annotations

import filecmp
import shutil
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from google.protobuf import descriptor_pb2
from google.protobuf.unknown_fields import UnknownFieldSet
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"algotrade/v1": "The generated stubs of the API.", "buf/validate": "The generated field rules."}
OPTIONS = {50400, 50401}  # access and tier, of algotrade/v1/access.proto


def generate(out: Path) -> None:
    """Write the stubs of every package below `out`; RuntimeError for a proto that protoc or our rule refuses."""
    protos = ROOT / "protos"
    bin_dir = Path(sys.executable).parent
    sources = sorted(
        p.relative_to(protos).as_posix() for package in PACKAGES for p in (protos / package).glob("*.proto")
    )
    services = [source for source in sources if source.endswith("_service.proto")]
    include = [f"-I{protos}", f"-I{files('grpc_tools') / '_proto'}"]
    plugins = [f"--plugin=protoc-gen-{name}={bin_dir / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    runs = (
        [f"--python_out={out}", f"--mypy_out=quiet:{out}", f"--descriptor_set_out={out / 'set'}", *sources],
        [f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}", *services],
    )
    for arguments in runs:
        if protoc.main(["protoc", *include, *plugins, *arguments]) != 0:
            raise RuntimeError("protoc failed")
    if missing := undeclared((out / "set").read_bytes()):
        raise RuntimeError(
            f"no (access) or (tier) declared: {', '.join(missing)}; see protos/algotrade/v1/access.proto"
        )
    for package, doc in PACKAGES.items():
        (out / package / "__init__.py").write_text(f'"""{doc}"""\n')
    (out / "buf" / "__init__.py").write_text('"""Generated."""\n')


def undeclared(descriptors: bytes) -> list[str]:
    """Names of the RPCs that do not say who may call them and what a call costs, from a FileDescriptorSet."""
    found = []
    for file in descriptor_pb2.FileDescriptorSet.FromString(descriptors).file:
        for service in file.service:
            for method in service.method:
                # The options are of the protos being generated, so here they are fields without a name.
                declared = {field.field_number for field in UnknownFieldSet(method.options) if field.data}
                if not declared >= OPTIONS:
                    found.append(f"{file.package}.{service.name}.{method.name}")
    return found


def stale(fresh: Path, committed: Path) -> list[str]:
    """Names of the files that differ between the two folders, or stand in one only."""
    names = {path.name for folder in (fresh, committed) for path in folder.glob("*.py*") if path.is_file()}
    _, mismatch, errors = filecmp.cmpfiles(fresh, committed, names, shallow=False)
    return sorted(f"{committed.relative_to(ROOT)}/{name}" for name in [*mismatch, *errors])


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        generate(out)
        if "--check" in sys.argv[1:]:
            wrong = [name for package in PACKAGES for name in stale(out / package, ROOT / "services" / package)]
            for name in wrong:
                sys.stderr.write(f"{name} is stale: run `make gen`\n")
            return 1 if wrong else 0
        for package in PACKAGES:
            target = ROOT / "services" / package
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(out / package, target)
        shutil.copy(out / "buf" / "__init__.py", ROOT / "services" / "buf" / "__init__.py")
    return 0


if __name__ == "__main__":
    sys.exit(main())
