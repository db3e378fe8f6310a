"""Builds what is shipped: wheel, sdist, one file, Debian package. `make dist` runs it.

The pinned libraries are downloaded once, into .cache/, and checked by their hashes. What holds
compiled libraries (the file, the package) is made for one Python, /usr/bin/python3 unless told,
and for the architecture of this machine.
"""

import argparse
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from package import completions, manual  # noqa: E402 - found beside this file

LOCK = ROOT / "requirements-run.txt"
HOME = Path("opt/steadyd")
RULES = Path("usr/share/steadyd")
DOC = Path("usr/share/doc/steadyd")
ENTRY = """\
#!/opt/steadyd/bin/python -I
import sys
from {module} import main
sys.exit(main())
"""
SAME_PYTHON = """\
import sys
if sys.version_info[:2] != {version}:
    found = ".".join(map(str, sys.version_info[:2]))
    sys.exit("steadyd: this file holds libraries for Python {text}, and this is Python " + found
             + "; run it with python{text}, or build it anew with `make dist`")
"""


class BuildError(Exception):
    """It cannot be built; str() is one clear line."""


def main() -> int:
    """Build everything into a folder and print what was built."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--into", type=Path, default=ROOT / "dist", metavar="DIR")
    parser.add_argument("--python", default="/usr/bin/python3", metavar="PROGRAM")
    args = parser.parse_args()
    os.environ.setdefault("SOURCE_DATE_EPOCH", _date())
    os.environ["PYTHONHASHSEED"] = "0"  # the order of sets in compiled files
    os.umask(0o022)
    args.into.mkdir(parents=True, exist_ok=True)
    into = args.into.resolve()
    try:
        with tempfile.TemporaryDirectory() as work:
            wheel(into)
            site = Path(work, "site")
            shutil.copytree(libraries(args.python), site)
            _install(args.python, into, site, f"steadyd=={version()}")
            single_file(args.python, site, into / "steadyd.pyz")
            if shutil.which("dpkg-deb"):
                debian(args.python, site, Path(work, "deb"), into)
            else:
                print("build: there is no dpkg-deb here: no .deb was built", file=sys.stderr)
    except (BuildError, OSError) as error:
        print(f"build: {error}", file=sys.stderr)
        return 1
    for path in sorted(into.iterdir()):
        print(f"{path.stat().st_size / 1e6:6.1f} MB  {path}")
    return 0


def version() -> str:
    """Return the version of the sources."""
    text = (ROOT / "src/steadyd/__init__.py").read_text("utf-8")
    (found,) = re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    return str(found)


def _date() -> str:
    """Return the seconds of the last commit, or of the changelog in an unpacked sdist."""
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return said or str(int((ROOT / "CHANGELOG.md").stat().st_mtime))


# -- wheel and sdist


def wheel(into: Path) -> None:
    """Build the sdist, and the wheel from the sdist."""
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", into, ROOT)


# -- the pinned libraries


def wheels(python: str) -> Path:
    """Return the folder of the pinned wheels for a Python."""

    def download(work: Path) -> None:
        fetch = ["--only-binary", ":all:", "--require-hashes", "--dest", str(work), "-r", str(LOCK)]
        _pip(python, "download", *fetch)

    return _cached("wheels", _key(python), download)


def libraries(python: str) -> Path:
    """Return a folder with the pinned libraries installed for a Python."""

    def install(work: Path) -> None:
        _install(python, wheels(python), work, "--require-hashes", "-r", LOCK)

    return _cached("run", _key(python), install)


def _install(python: str, source: Path, target: Path, *what: str | Path) -> None:
    offline = ["--no-index", "--find-links", str(source), "--no-deps"]
    _pip(python, "install", *offline, "--no-compile", "--upgrade", "--target", target, *what)
    for folder in ("bin", "share"):  # scripts name the Python that ran pip
        shutil.rmtree(target / folder, ignore_errors=True)


def _key(python: str) -> str:
    return hashlib.sha256(LOCK.read_bytes() + _python(python).encode()).hexdigest()[:12]


def _python(python: str) -> str:
    """Return `3.11` of a Python."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    said = _run(python, "-c", code).strip()
    if tuple(map(int, said.split("."))) < (3, 11):
        raise BuildError(f"{python} is Python {said}; steadyd needs 3.11 or newer (--python)")
    return said


def _cached(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """Return a folder below .cache that depends on nothing but its key."""
    final = ROOT / ".cache" / f"{kind}-{key}"
    if not final.is_dir():
        work = final.with_name(f"{kind}.new-{os.getpid()}")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        make(work)
        work.rename(final)
    return final


# -- the single file


def single_file(python: str, site: Path, target: Path) -> None:
    """Build one file that runs with no installation."""
    major, minor = _python(python).split(".")
    with tempfile.TemporaryDirectory() as work:
        preamble = Path(work, "same_python.py")
        text = SAME_PYTHON.format(version=(int(major), int(minor)), text=f"{major}.{minor}")
        preamble.write_text(text)
        command = [sys.executable, "-m", "shiv", "--reproducible", "--extend-pythonpath"]
        command += ["--preamble", str(preamble), "--console-script", "steadyd"]
        _run(*command, "--site-packages", site, "--output-file", target)


# -- the Debian package


def debian(python: str, site: Path, tree: Path, into: Path) -> None:
    """Build the Debian package over a tree of files."""
    _environment(python, site, tree / HOME)
    links = {"steadyd": "steadyd.__main__", "inspeqtorctl": "steadyd.inspeqtorctl"}
    for name, module in links.items():
        _write(tree / HOME / "bin" / name, ENTRY.format(module=module), 0o755)
        link = tree / "usr/bin" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"/{HOME}/bin/{name}")
    _host(tree)
    _papers(tree)
    compiled = ["-s", str(tree), "-p", "/", "--invalidation-mode", "unchecked-hash"]
    _run(python, "-m", "compileall", "-q", *compiled, tree / HOME / "lib")
    _control(python, tree)
    _run("dpkg-deb", "--build", "--root-owner-group", tree, into)


def _environment(python: str, site: Path, home: Path) -> None:
    """Make a virtual environment that knows no path of this machine (PEP 405)."""
    minor = _python(python)
    shutil.copytree(site, home / f"lib/python{minor}/site-packages")
    _write(home / "pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\n")
    (home / "bin").mkdir()
    (home / "bin/python").symlink_to("/usr/bin/python3")


def _host(tree: Path) -> None:
    """Lay out what the host needs: units, user, folders, configuration, rules, examples."""
    lib = tree / "usr/lib"
    for source, target in {
        "systemd/steadyd.service": lib / "systemd/system/steadyd.service",
        "systemd/sysusers.conf": lib / "sysusers.d/steadyd.conf",
        "systemd/tmpfiles.conf": lib / "tmpfiles.d/steadyd.conf",
        "package/deb/default": tree / "etc/default/steadyd",
        "package/deb/steadyd.toml": tree / "etc/steadyd/steadyd.toml",
    }.items():
        _write(target, (ROOT / source).read_text("utf-8"))
    (tree / "etc/steadyd/rules.d").mkdir()
    for path in ("etc/steadyd", "etc/steadyd/rules.d"):  # tmpfiles.d gives it to the group
        (tree / path).chmod(0o750)
    for folder in ("rules", "dashboards"):
        only = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tree / RULES / folder, ignore=only)
    shutil.copytree(ROOT / "systemd/examples", tree / DOC / "examples/systemd")
    shutil.copytree(ROOT / "upstart", tree / DOC / "examples/upstart")
    for init in ("sysvinit", "openrc", "runit", "s6", "supervisord"):
        shutil.copytree(ROOT / "contrib" / init, tree / DOC / "examples" / init)


def _papers(tree: Path) -> None:
    """Write manuals, completions, licence and changelog."""
    for name, text in manual.pages().items():
        _packed(tree / f"usr/share/man/man{name[-1]}/{name}.gz", text)
    for path, text in completions.files().items():
        _write(tree / path, text)
    _write(tree / DOC / "copyright", (ROOT / "LICENSE").read_text("utf-8"))
    _packed(tree / DOC / "changelog.gz", (ROOT / "CHANGELOG.md").read_text("utf-8"))


def _control(python: str, tree: Path) -> None:
    """Write what dpkg reads."""
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    major, minor = _python(python).split(".")
    meaning = {
        "version": version(),
        "architecture": _run("dpkg", "--print-architecture").strip(),
        "size": sum(path.stat().st_size for path in files) // 1024,
        "python": f"python3 (>= {major}.{minor}), python3 (<< {major}.{int(minor) + 1})",
    }
    folder = tree / "DEBIAN"
    control = (ROOT / "package/deb/control").read_text("utf-8")
    _write(folder / "control", control.format(**meaning))
    for name in ("postinst", "prerm", "postrm"):
        _write(folder / name, (ROOT / "package/deb" / name).read_text("utf-8"), 0o755)
    etc = [path for path in files if tree / "etc" in path.parents]
    _write(folder / "conffiles", "".join(f"/{path.relative_to(tree)}\n" for path in etc))
    sums = [(_md5(path), path.relative_to(tree)) for path in files if path not in etc]
    _write(folder / "md5sums", "".join(f"{md5}  {path}\n" for md5, path in sums))


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


# -- beneath it


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    path.chmod(mode)


def _packed(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def _pip(python: str, *arguments: str | Path) -> None:
    quiet = ["--disable-pip-version-check", "--no-input", "-q", "-q"]
    _run(sys.executable, "-m", "pip", "--python", python, *arguments, *quiet)


def _run(*command: str | Path) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise BuildError(f"{' '.join(words[:4])} … ended with {done.returncode}: {said}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
