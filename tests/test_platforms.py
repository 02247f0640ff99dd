"""No name of one operating system is used outside `core.platforms`."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "crypto_anomaly"
HOME = PACKAGE / "core" / "platforms.py"
MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty", "winreg"}
OF_ONE_SYSTEM = {
    "os": "chmod chown fchmod fchown fork forkpty getegid geteuid getgid getloadavg getpgid "
    "getppid getuid kill killpg link mkfifo nice open pipe2 pread pwrite rename setgid setpgid "
    "setsid setuid set_blocking statvfs symlink sysconf umask uname wait waitpid",
    "signal": "SIGALRM SIGBREAK SIGCHLD SIGHUP SIGKILL SIGPIPE SIGQUIT SIGUSR1 SIGUSR2 alarm "
    "pause pthread_kill set_wakeup_fd setitimer signal sigwait",
    "socket": "AF_UNIX SO_REUSEADDR SO_REUSEPORT socketpair",
    "sys": "getwindowsversion platform",
}
ATTRIBUTES = {"add_signal_handler", "hardlink_to", "symlink_to", "remove_signal_handler"}
KEYWORDS = {"preexec_fn", "process_group", "start_new_session", "creationflags"}
TEXT = {"read_text": 0, "write_text": 1}  # method -> arguments before the encoding


def names_of_one_system(source: str) -> list[str]:
    "What in a source works on one operating system only."
    return [found for node in ast.walk(ast.parse(source)) for found in _of_node(node)]


def _of_node(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [a.name for a in node.names if a.name in MODULES]
    if isinstance(node, ast.ImportFrom):
        names = OF_ONE_SYSTEM.get(node.module or "", "").split()
        own = [node.module] if node.module in MODULES else []
        return own + [a.name for a in node.names if a.name in names]
    if isinstance(node, ast.Attribute):
        owner = node.value.id if isinstance(node.value, ast.Name) else ""
        known = node.attr in OF_ONE_SYSTEM.get(owner, "").split()
        return [f"{owner}.{node.attr}"] if known or node.attr in ATTRIBUTES else []
    return _of_call(node) if isinstance(node, ast.Call) else []


def _of_call(call: ast.Call) -> list[str]:
    keywords = {k.arg for k in call.keywords}
    found = sorted(keywords & KEYWORDS)
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if name in TEXT and len(call.args) <= TEXT[name] and "encoding" not in keywords:
        found.append(f"{name} without encoding")
    if isinstance(call.func, ast.Name) and name == "open" and _opens_text(call):
        found += [] if "encoding" in keywords else ["open without encoding"]
    if name == "strftime" and any("%-" in str(getattr(a, "value", "")) for a in call.args):
        found.append("strftime of glibc")
    return found


def _opens_text(call: ast.Call) -> bool:
    mode = call.args[1] if len(call.args) > 1 else None
    return "b" not in str(getattr(mode, "value", "r"))


def modules() -> list[Path]:
    return [p for p in sorted(PACKAGE.rglob("*.py")) if p not in (HOME, PACKAGE / "_modidx.py")]


def test_only_one_module_knows_the_operating_system():
    found = {
        str(path.relative_to(PACKAGE)): names
        for path in modules()
        if (names := names_of_one_system(path.read_text(encoding="utf-8")))
    }
    assert not found


def test_that_module_has_branches():
    names = names_of_one_system(HOME.read_text(encoding="utf-8"))
    assert {"os.pread", "os.link", "sys.platform"} <= set(names)


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.kill(pid, 0)",
        "from signal import SIGKILL",
        "import fcntl",
        "loop.add_signal_handler(2, stop)",
        "subprocess.Popen(x, start_new_session=True)",
        "path.read_text()",
        "path.write_text(text)",
        "open(path)",
        "t.strftime('%-d')",
    ],
)
def test_a_name_of_one_system_is_found(source):
    assert names_of_one_system(source)
