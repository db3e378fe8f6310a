"""The D-Bus objects: manager, jobs, instances; their methods, properties and errors."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.hosts.upstart.conf import expand
from tests.hosts.upstart.job import INSTANCE, JOB, MANAGER, ROOT, Event, Instance, Job
from tests.hosts.upstart.wire import ERROR, RETURN, Message

if TYPE_CHECKING:
    from tests.hosts.upstart.init import Init

VERSION = "init (upstart 1.12.1)"
_BUS = "org.freedesktop.DBus"
_PROPERTIES, _PEER = f"{_BUS}.Properties", f"{_BUS}.Peer"
Answer = Callable[[Message], None]
_METHODS = {
    MANAGER: {
        "GetAllJobs": ("", "ao"),
        "GetJobByName": ("s", "o"),
        "EmitEvent": ("sasb", ""),
        "ReloadConfiguration": ("", ""),
        "Restart": ("", ""),
        "ListEnv": ("as", "as"),
    },
    JOB: {
        "GetInstance": ("as", "o"),
        "GetInstanceByName": ("s", "o"),
        "GetAllInstances": ("", "ao"),
        "Start": ("asb", "o"),
        "Stop": ("asb", ""),
        "Restart": ("asb", "o"),
    },
    INSTANCE: {
        "Start": ("b", ""),
        "Stop": ("b", ""),
        "Restart": ("b", ""),
        "Reload": ("", ""),
    },
    _PROPERTIES: {"Get": ("ss", "v"), "GetAll": ("s", "a{sv}"), "Set": ("ssv", "")},
    _PEER: {"Ping": ("", ""), "GetMachineId": ("", "s")},
}
Later = object()
Target = Job | Instance | None


class Refusal(Exception):
    """An error reply."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name if "." in name else f"{MANAGER}.Error.{name}"


class Objects:
    """Takes calls, and answers each once, some of them later."""

    def __init__(self, init: "Init") -> None:
        self._init = init

    def call(self, message: Message, answer: Answer) -> None:
        """Answer a call, now or when what it waits for is done."""
        try:
            target = self._target(message.path)
            interface, kinds = self._method(message, target)
            if kinds[0] != message.signature:
                text = f"Invalid arguments to {message.member} method"
                raise Refusal(f"{_BUS}.Error.InvalidArgs", text)
            method = getattr(self, "_" + _NAMES.get(interface, "") + message.member.lower())

            def reply(*values: object) -> None:
                answer(Message(RETURN, signature=kinds[1], body=list(values)))

            def finished(failed: bool, *values: object) -> None:
                if failed:
                    answer(_error(Refusal("JobFailed", "Job failed to start")))
                else:
                    reply(*values)

            found = method(target, *message.body, **_wants(method, finished))
            if found is not Later:
                reply(*([] if found is None else [found]))
        except Refusal as refusal:
            answer(_error(refusal))

    def instance(self, job: Job, env: list[str]) -> Instance:
        """Return the instance that an environment means, made if need be. Raises KeyError."""
        name = self._name(job, env)
        return job.instances.get(name) or Instance(self._init, job, name)

    def _name(self, job: Job, env: list[str]) -> str:
        given = dict(pair.split("=", 1) for pair in [*job.conf.env, *env])
        return expand(job.conf.words.get("instance", ""), given)

    def _named(self, job: Job, env: list[str], usage: bool) -> str:
        if any("=" not in pair for pair in env):
            raise Refusal(f"{_BUS}.Error.InvalidArgs", "Env must be KEY=VALUE pairs")
        try:
            return self._name(job, env)
        except KeyError as error:
            text = f"Unknown parameter: {error.args[0]}"
            if usage and "usage" in job.conf.words:
                text += f"\nUsage: {job.conf.words['usage']}"
            raise Refusal(f"{_BUS}.Error.InvalidArgs", text) from None

    def _existing(self, job: Job, env: list[str], usage: bool) -> Instance:
        name = self._named(job, env, usage)
        if name not in job.instances:
            raise Refusal("UnknownInstance", f"Unknown instance: {name}")
        return job.instances[name]

    def _target(self, path: str) -> Target | str:
        if path == ROOT:
            return None
        for job in self._init.jobs.values():
            if path == job.path:
                return job
            for instance in job.instances.values():
                if path == instance.path:
                    return instance
        return "nothing"

    def _method(self, message: Message, target: Target | str) -> tuple[str, tuple[str, str]]:
        own = {Job: JOB, Instance: INSTANCE, type(None): MANAGER}.get(type(target))
        for interface in (own, _PROPERTIES, _PEER) if own else (_PEER,):
            methods = _METHODS[interface or ""]
            if message.interface in ("", interface) and message.member in methods:
                return interface or "", methods[message.member]
        text = (
            f'Method "{message.member}" with signature "{message.signature}" on interface '
            f'"{message.interface}" doesn\'t exist\n'
        )
        raise Refusal(f"{_BUS}.Error.UnknownMethod", text)

    # the manager

    def _manager_getalljobs(self, _: None) -> list[str]:
        return [job.path for job in self._init.jobs.values()]

    def _manager_getjobbyname(self, _: None, name: str) -> str:
        if not name:
            raise Refusal(f"{_BUS}.Error.InvalidArgs", "Name may not be empty string")
        if name not in self._init.jobs:
            raise Refusal("UnknownJob", f"Unknown job: {name}")
        return self._init.jobs[name].path

    def _manager_emitevent(
        self, _: None, name: str, env: list[str], wait: bool, finished: Callable[..., None]
    ) -> object:
        if not name:
            raise Refusal(f"{_BUS}.Error.InvalidArgs", "Name may not be empty string")
        if any("=" not in pair for pair in env):
            raise Refusal(f"{_BUS}.Error.InvalidArgs", "Env must be KEY=VALUE pairs")
        self._init.emit(Event(name, env, (lambda: finished(False)) if wait else lambda: None))
        return Later if wait else None

    def _manager_reloadconfiguration(self, _: None) -> None:
        self._init.reload_configuration()

    def _manager_restart(self, _: None) -> None:
        self._init.reexec()

    def _manager_listenv(self, _: None, of: list[str]) -> list[str]:
        return ["PATH=/usr/local/sbin:/usr/local/bin:/usr/bin:/usr/sbin:/sbin:/bin", "TERM=linux"]

    # jobs

    def _job_getinstance(self, job: Job, env: list[str]) -> str:
        return self._existing(job, env, usage=True).path

    def _job_getinstancebyname(self, job: Job, name: str) -> str:
        if name not in job.instances:
            raise Refusal("UnknownInstance", f"Unknown instance: {name}")
        return job.instances[name].path

    def _job_getallinstances(self, job: Job) -> list[str]:
        return [instance.path for instance in job.instances.values()]

    def _job_start(
        self, job: Job, env: list[str], wait: bool, finished: Callable[..., None]
    ) -> object:
        self._named(job, env, usage=True)
        name = self._name(job, env)
        instance = job.instances.get(name)
        if instance and instance.goal == "start":
            raise Refusal("AlreadyStarted", f"Job is already running: {instance.shown}")
        instance = instance or Instance(self._init, job, name)
        instance.env = env
        return self._ask(instance, "start", wait, finished, instance.path)

    def _job_stop(
        self, job: Job, env: list[str], wait: bool, finished: Callable[..., None]
    ) -> object:
        return self._instance_stop(self._existing(job, env, usage=False), wait, finished)

    def _job_restart(
        self, job: Job, env: list[str], wait: bool, finished: Callable[..., None]
    ) -> object:
        instance = self._existing(job, env, usage=False)
        self._not_stopped(instance)
        instance.env = env
        return self._again(instance, wait, finished, instance.path)

    # instances

    def _instance_start(
        self, instance: Instance, wait: bool, finished: Callable[..., None]
    ) -> object:
        if instance.goal == "start":
            raise Refusal("AlreadyStarted", f"Job is already running: {instance.shown}")
        return self._ask(instance, "start", wait, finished)

    def _instance_stop(
        self, instance: Instance, wait: bool, finished: Callable[..., None]
    ) -> object:
        self._not_stopped(instance)
        return self._ask(instance, "stop", wait, finished)

    def _instance_restart(
        self, instance: Instance, wait: bool, finished: Callable[..., None]
    ) -> object:
        self._not_stopped(instance)
        return self._again(instance, wait, finished)

    def _instance_reload(self, instance: Instance) -> None:
        import os
        import signal

        if "main" not in instance.pids:
            raise Refusal("NotRunning", f"Job is not running: {instance.shown}")
        number = getattr(signal, f"SIG{instance.conf.reload_signal}")
        with contextlib.suppress(ProcessLookupError):
            os.kill(instance.pids["main"], number)

    def _not_stopped(self, instance: Instance) -> None:
        if instance.goal == "stop":
            text = f"Job has already been stopped: {instance.shown}"
            raise Refusal("AlreadyStopped", text)

    def _ask(
        self,
        instance: Instance,
        goal: str,
        wait: bool,
        finished: Callable[..., None],
        *values: object,
    ) -> object:
        instance.finish()
        if wait:
            instance.waiting.append(lambda failed: finished(failed, *values))
        instance.change(goal)
        return Later if wait else (values[0] if values else None)

    def _again(
        self, instance: Instance, wait: bool, finished: Callable[..., None], *values: object
    ) -> object:
        instance.finish()
        instance.change("stop")
        if wait:
            instance.waiting.append(lambda failed: finished(failed, *values))
        instance.change("start")
        return Later if wait else (values[0] if values else None)

    # what every object has

    def _ping(self, _: Target) -> None:
        """Answer."""

    def _getmachineid(self, _: Target) -> str:
        return Path("/etc/machine-id").read_text("ascii").strip()

    def _get(self, target: Target, interface: str, name: str) -> tuple[str, Any]:
        found = _properties(target)
        if name not in found:
            text = f'Method "Get" with signature "ss" on interface "{_PROPERTIES}" doesn\'t exist\n'
            raise Refusal(f"{_BUS}.Error.UnknownMethod", text)
        return found[name]

    def _getall(self, target: Target, interface: str) -> dict[str, tuple[str, Any]]:
        return _properties(target)

    def _set(self, target: Target, interface: str, name: str, value: object) -> None:
        if name != "log_priority":
            raise Refusal(f"{_BUS}.Error.AccessDenied", f"The {name} property is read-only")


_NAMES = {MANAGER: "manager_", JOB: "job_", INSTANCE: "instance_"}


def _wants(method: Callable[..., object], finished: Callable[..., None]) -> dict[str, Any]:
    return {"finished": finished} if "finished" in method.__code__.co_varnames else {}


def _error(refusal: Refusal) -> Message:
    return Message(ERROR, error=refusal.name, signature="s", body=[str(refusal)])


def _properties(target: Target) -> dict[str, tuple[str, Any]]:
    if target is None:
        return {"version": ("s", VERSION), "log_priority": ("s", "message")}
    if isinstance(target, Instance):
        order = ("pre-start", "main", "post-start", "pre-stop", "post-stop")
        return {
            "name": ("s", target.name),
            "goal": ("s", target.goal),
            "state": ("s", target.state),
            "processes": (
                "a(si)",
                [(name, target.pids[name]) for name in order if name in target.pids],
            ),
        }
    conf = target.conf
    texts = {key: ("s", conf.words.get(key, "")) for key in _TEXTS}
    return (
        {"name": ("s", conf.name)}
        | texts
        | {
            "start_on": ("aas", conf.start_on.postfix),
            "stop_on": ("aas", conf.stop_on.postfix),
            "emits": ("as", conf.emits),
        }
    )


_TEXTS = ("description", "author", "version", "usage")
