"""A throw-away host whose PID 1 is the stand-in."""

from pathlib import Path
from typing import Any

from tests.hosts.inithost import SHARE, Host

HERE = Path(__file__).parent
LIBRARY = "/usr/lib/upstart-standin"
STUB = f"""#!/usr/bin/python3 -IS
import sys
sys.path.insert(0, "{LIBRARY}")
from tests.hosts.upstart.initctl import main
sys.exit(main())
"""
INIT = f"""\
import runpy
import sys
sys.path.insert(0, "{LIBRARY}")
sys.argv = [sys.argv[0], "{SHARE}/.ready"]
runpy.run_module("tests.hosts.upstart.init", run_name="__main__")
"""
# as Upstart's own: everybody may read, root alone may act
POLICY = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <policy user="root">
    <allow own="com.ubuntu.Upstart"/>
    <allow send_destination="com.ubuntu.Upstart" send_interface="com.ubuntu.Upstart0_6"/>
    <allow send_destination="com.ubuntu.Upstart" send_interface="com.ubuntu.Upstart0_6.Job"/>
    <allow send_destination="com.ubuntu.Upstart" send_interface="com.ubuntu.Upstart0_6.Instance"/>
    <allow send_destination="com.ubuntu.Upstart" send_interface="org.freedesktop.DBus.Properties"/>
  </policy>
  <policy context="default">
    <allow send_destination="com.ubuntu.Upstart" send_interface="org.freedesktop.DBus.Peer"/>
    <allow send_destination="com.ubuntu.Upstart"
           send_interface="org.freedesktop.DBus.Introspectable"/>
%s  </policy>
</busconfig>
"""
READ = {
    "org.freedesktop.DBus.Properties": ("Get", "GetAll"),
    "com.ubuntu.Upstart0_6": ("GetJobByName", "GetAllJobs"),
    "com.ubuntu.Upstart0_6.Job": ("GetInstance", "GetInstanceByName", "GetAllInstances"),
}
NAMES = ("initctl", "start", "stop", "restart", "reload", "status", "telinit", "service")
DEPLOY = 1001


class UpstartHost(Host):  # type: ignore[misc]  # inithost is not typed
    """A host that boots the stand-in. `jobs` are texts by file name below /etc/init.

    A user `deploy` is there. Where there is a job `dbus` there is a system bus. `sudo` unpacks
    Debian's.
    """

    argv = ("/usr/bin/python3", "-IS", f"{LIBRARY}/init.py")
    ready = "file"
    hide = (*Host.hide, "/etc/init", "/etc/dbus-1/system.d", "/var/log/upstart", "/etc/sudoers.d")
    needs = ("/usr/bin/python3",)

    def __init__(
        self, jobs: dict[str, str] | None = None, *, sudo: bool = False, **options: Any
    ) -> None:
        self._jobs = jobs or {}
        self.packages = ("sudo",) if sudo else ()
        super().__init__(**options)

    def base_files(self) -> dict[str, Any]:
        allowed = "".join(
            f'    <allow send_destination="com.ubuntu.Upstart" send_interface="{interface}"\n'
            f'           send_member="{member}"/>\n'
            for interface, members in READ.items()
            for member in members
        )
        files: dict[str, Any] = {
            "/etc/dbus-1/system.d/Upstart.conf": POLICY % allowed,
            f"{LIBRARY}/init.py": INIT,
            f"{LIBRARY}/tests/__init__.py": "",
            f"{LIBRARY}/tests/hosts/__init__.py": "",
            "/etc/passwd": Path("/etc/passwd").read_text("utf-8")
            + f"deploy:x:{DEPLOY}:{DEPLOY}::/home/deploy:/bin/sh\n",
            "/etc/group": Path("/etc/group").read_text("utf-8") + f"deploy:x:{DEPLOY}:\n",
            "/etc/shadow": ("root:*:19000::::::\ndeploy:*:19000::::::\n", 0o640),
            "/home/deploy/.keep": "",
        }
        for file in HERE.glob("*.py"):
            if file.name not in ("host.py", "replay.py"):
                files[f"{LIBRARY}/tests/hosts/upstart/{file.name}"] = file.read_text("utf-8")
        files |= {f"/usr/sbin/{name}": (STUB, 0o755) for name in NAMES}
        return files | {f"/etc/init/{name}": text for name, text in self._jobs.items()}

    @property
    def bus_address(self) -> str:
        """The system bus, reachable from the test process itself."""
        return "unix:path=" + str(self.path("/run/dbus/system_bus_socket"))
