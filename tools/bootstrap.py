"""Set-up behind `make`: an environment in `.venv` with everything the project needs.

Run by the user's own Python with nothing but the standard library. It makes `.venv` in the clone,
installs the versions of `constraints.txt`, chooses the Detectron2, installs the project in place,
and skips whatever an earlier run finished. Nothing outside the clone is changed.

If the calling Python can import the real Detectron2, its packages are made visible in `.venv`
behind the environment's own, and what it has (above all the torch that Detectron2's compiled part
was built against) is not installed again. Otherwise `projects/detectron2_slim` is installed.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

if sys.version_info < (3, 11):
    sys.exit(
        f"Python {sys.version.split()[0]} at {sys.executable} is too old for the versions in "
        "constraints.txt, which need 3.11 or newer. Name another, as in: "
        "make demo PYTHON=python3.11"
    )

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
RUN = VENV / "bin" / "python"
OWNER = VENV / "made-by-make"  # holds the path of the Python that made the environment
STAMP = VENV / "setup-done.json"  # what was installed; written last, so present means complete
SLIM = ROOT / "projects" / "detectron2_slim"
INPUTS = ("constraints.txt", "setup.py", "tools/bootstrap.py", "projects/detectron2_slim")
MADE = (
    ".cache",
    ".hypothesis",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    "demo_output",
    "read_output",
    "wecromcl_d2.egg-info",
    "projects/detectron2_slim/detectron2.egg-info",
)
OLDEST_TORCH = (2, 4)
START = time.monotonic()

# Prints null where there is no Detectron2, or where it is the slim one.
PROBE = """
import importlib.util, json, os, sys
found = None
if importlib.util.find_spec("detectron2") is not None:
    import detectron2
    if "+slim" not in detectron2.__version__:
        import torch
        import detectron2.layers  # loads the compiled part
        from importlib import metadata
        found = {
            "version": detectron2.__version__,
            "folder": os.path.dirname(detectron2.__file__),
            "torch": torch.__version__,
            "site": [p for p in sys.path if os.path.basename(p).endswith("-packages")],
            "installed": sorted({d.metadata["Name"] or "" for d in metadata.distributions()}),
        }
print(json.dumps(found))
"""

# What pip writes when something outside the project is wrong, and what to tell the user then.
REMEDIES = (
    (
        r"No space left on device|Disk quota exceeded",
        "The disk is full. The set-up needs about 1.5 GB in this folder and as much again in pip's "
        "cache and the folder for temporary files (TMPDIR).",
    ),
    (
        r"name resolution|not known|unreachable|refused|timed out|Timeout|ProxyError|SSLError"
        r"|No route to host|NewConnectionError|from versions: none",
        "The packages could not be downloaded. Check the network, and PIP_INDEX_URL and the proxy "
        "settings if you use them, then run the same command again.",
    ),
    (
        r"ensurepip",
        "This Python lacks its venv module (a package of its own on Debian and Ubuntu: "
        "python3-venv). Install it, or name another Python with make ... PYTHON=path.",
    ),
)


def say(message: str) -> None:
    """Print a progress line that starts with the seconds since the start."""
    print(f"[{time.monotonic() - START:5.1f} s] {message}", flush=True)


def fail(message: str) -> NoReturn:
    """Stop with a message on standard error and exit status 1."""
    sys.stdout.flush()
    sys.exit(f"set-up failed: {message}")


def run(title: str, *command: str | Path) -> None:
    """Run one step, silent while it goes well.

    Args:
        title: what the step does, for the progress line.
        command: program and arguments.

    Raises:
        SystemExit: the step failed; its whole output and a remedy have been printed.
    """
    say(title)
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=ROOT,
        env={**os.environ, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    while True:
        try:
            output, _ = process.communicate(timeout=20)
            break
        except subprocess.TimeoutExpired:
            say("  still busy")
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        print(output, file=sys.stderr)
        fail(explain(output) or f"{title}: exit status {process.returncode}, output above.")


def explain(output: str) -> str | None:
    """Remedy for what pip complained about, None if its own words have to do."""
    for pattern, remedy in REMEDIES:
        if re.search(pattern, output):
            return remedy
    return None


def find_real() -> dict[str, Any] | None:
    """The real Detectron2 of the calling Python, None if it has none that can be used.

    Returns:
        version, folder, torch (version), site (its package folders), installed (distributions).
    """
    probe = subprocess.run(
        [sys.executable, "-P", "-c", PROBE], cwd=ROOT, capture_output=True, encoding="utf-8"
    )
    if probe.returncode:
        reason = (probe.stderr.strip().splitlines() or ["no message"])[-1]
        say(f"the Detectron2 of {sys.executable} does not import ({reason})")
        return None
    real = json.loads(probe.stdout.splitlines()[-1])
    if real and tuple(int(part) for part in real["torch"].split(".")[:2]) < OLDEST_TORCH:
        say(f"the Detectron2 in {real['folder']} uses torch {real['torch']}, too old for us")
        return None
    return real


def describe(real: dict[str, Any] | None) -> dict[str, str]:
    """What a finished set-up depends on; the stamp holds the same."""
    digest = hashlib.sha256()
    for name in INPUTS:
        path = ROOT / name
        files = sorted(path.glob("*.toml")) if path.is_dir() else [path]
        for file in files:
            digest.update(file.read_bytes())
    choice = "slim, from projects/detectron2_slim"
    if real:
        choice = f"real {real['version']}, from {real['folder']} with torch {real['torch']}"
    return {
        "root": str(ROOT),
        "python": f"{sys.executable} {sys.version}",
        "detectron2": choice,
        "inputs": digest.hexdigest(),
    }


def read_stamp() -> dict[str, str]:
    """The stamp of a finished set-up, empty if there is none."""
    try:
        return dict(json.loads(STAMP.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def remove_environment() -> None:
    """Delete `.venv` if make made it.

    Raises:
        SystemExit: it holds something that make did not make.
    """
    if VENV.is_symlink() or (VENV.exists() and any(VENV.iterdir()) and not OWNER.exists()):
        fail(f"{VENV} was not made by make: move it away, then run the same command again.")
    if VENV.exists():
        say("removing the old .venv")
        # The owner's mark goes last: an interrupted removal can then be taken up again.
        for child in sorted(VENV.iterdir(), key=lambda path: (path == OWNER, path != STAMP)):
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
            else:
                child.unlink()
        VENV.rmdir()


def create_environment(real: dict[str, Any] | None) -> None:
    """Make an empty `.venv`, with the real Detectron2's package folders behind its own."""
    remove_environment()
    VENV.mkdir()
    OWNER.write_text(sys.executable, encoding="utf-8")
    run(f"making .venv with Python {sys.version.split()[0]}", sys.executable, "-m", "venv", VENV)
    if real:
        own = next(VENV.glob("lib/python*/site-packages"))
        # !a: a .pth file is read in the locale's encoding. addsitedir() appends.
        lines = [f"import site; site.addsitedir({folder!a})\n" for folder in real["site"]]
        (own / "detectron2-of-caller.pth").write_text("".join(lines), encoding="ascii")


def missing_pins(real: dict[str, Any] | None) -> list[str]:
    """Lines of `constraints.txt` to install: all, or those the real one's environment lacks."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pins = [line for line in text.splitlines() if line and not line.startswith("#")]
    if real is None:
        return pins
    present = {normalise(name) for name in real["installed"]} | {"torch"}
    if any(name.startswith("opencv-") for name in present):
        present.add("opencv-python-headless")
    # The build tools are ours in any case: an old setuptools cannot install in place.
    present -= {"setuptools", "wheel"}
    return [pin for pin in pins if normalise(pin.split("==")[0]) not in present]


def normalise(name: str) -> str:
    """A distribution's name in its one comparable form."""
    return re.sub(r"[-_.]+", "-", name).lower()


def install(real: dict[str, Any] | None) -> None:
    """Install pinned packages, the slim Detectron2 where none is there, and the project."""
    # Most of what is installed is never imported: byte code is made when it is.
    pip = (RUN, "-m", "pip", "--quiet", "--no-input", "install", "--no-compile")
    in_place = (*pip, "--no-build-isolation", "--no-deps", "--editable")
    pins = missing_pins(real)
    tools = [pin for pin in pins if pin.startswith(("setuptools==", "wheel=="))]
    run("installing the build tools", *pip, *tools)
    packages = [pin for pin in pins if pin not in tools]
    if packages:
        title = f"installing {len(packages)} packages, torch is the largest"
        if real:
            title = f"installing what that environment lacks: {', '.join(packages)}"
        # fvcore comes as source only: without isolation it is built by the pinned tools.
        run(title, *pip, "--no-build-isolation", *packages)
    if real is None:
        run("installing detectron2 slim in place", *in_place, SLIM)
    run("installing wecromcl_d2 in place", *in_place, ROOT)
    run("trying the imports", RUN, "-P", "-c", "import detectron2.engine, wecromcl_d2")


def set_up() -> None:
    """Bring `.venv` to the wanted state, or find that it is there already."""
    real = find_real()
    wanted = describe(real)
    say(f"Detectron2: {wanted['detectron2']} (looked in {sys.executable})")
    found = read_stamp()
    if found == wanted:
        return
    if not found or any(found.get(key) != wanted[key] for key in ("root", "python", "detectron2")):
        create_environment(real)
    STAMP.unlink(missing_ok=True)
    install(real)
    partial = STAMP.with_suffix(".partial")
    partial.write_text(json.dumps(wanted, indent=1), encoding="utf-8")
    partial.replace(STAMP)
    say("set-up finished")


def clean() -> None:
    """Remove the environment, the demo's output, caches and byte code."""
    remove_environment()
    for name in MADE:
        shutil.rmtree(ROOT / name, ignore_errors=True)
    for folder in ("wecromcl_d2", "projects", "tests", "tools", "demo"):
        for cache in list((ROOT / folder).rglob("__pycache__")):
            shutil.rmtree(cache, ignore_errors=True)


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Let a second make in the same clone wait until the first has finished its set-up."""
    with Path(__file__).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up is running in this clone: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def leave_environment() -> None:
    """Start over with the Python that made `.venv` if we were called by the one inside it."""
    if Path(sys.prefix).resolve() == VENV and OWNER.exists():
        maker = OWNER.read_text(encoding="utf-8")
        os.execv(maker, [maker, *sys.argv])


def main() -> None:
    """Parse the command line and do what it asks."""
    parser = argparse.ArgumentParser(description="Set up .venv in the clone; called by make.")
    parser.add_argument("--clean", action="store_true", help="remove what make made instead")
    arguments = parser.parse_args()
    leave_environment()
    try:
        with only_one():
            if arguments.clean:
                clean()
            else:
                set_up()
    except KeyboardInterrupt:
        fail("interrupted. The next run starts it again.")
    except OSError as error:
        fail(explain(str(error)) or str(error))


if __name__ == "__main__":
    main()
