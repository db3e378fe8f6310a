"""steadyd run: the daemon."""

import argparse
import asyncio
import logging
import resource
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from steadyd import heap, log
from steadyd.app import App
from steadyd.exposition import notify
from steadyd.exposition.web import Web, WebConfigError, WebError
from steadyd.inits import detect
from steadyd.ports import InitSystem, Supervisor
from steadyd.probes.procfs import ProcSampler
from steadyd.settings import Settings, SettingsError, load
from steadyd.store import Store, StoreError

logger = logging.getLogger("steadyd")

SUPERVISORS: dict[str, Callable[[], Supervisor]] = {
    "notify": notify.Systemd,
    "sigstop": notify.SigStop,
    "none": notify.Nobody,
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `run`."""
    parser.add_argument("--config", metavar="FILE", help="configuration (steadyd.toml)")
    parser.add_argument("--rules", metavar="DIR", action="append", help="folder of rule files")
    parser.add_argument("--state", metavar="DIR", help="folder for state.db")
    parser.add_argument(
        "--route",
        metavar="NAME=URL",
        action="append",
        default=[],
        help="target of a route; may be repeated",
    )
    parser.add_argument("--cycle", metavar="DURATION", help="time between two ticks (15s)")
    parser.add_argument("--init", metavar="NAME", help="auto, or the only init system to ask")
    parser.add_argument("--dry-run", action="store_true", help="run no verb, only tell")
    parser.add_argument(
        "--web.listen-address",
        dest="listen",
        metavar="ADDR",
        action="append",
        help="HOST:PORT, :PORT or [::1]:PORT; may be repeated (127.0.0.1:10870)",
    )
    parser.add_argument(
        "--web.config.file",
        dest="web_config",
        metavar="FILE",
        help="TLS and users, as Prometheus has it",
    )
    parser.add_argument(
        "--web.enable-lifecycle", dest="lifecycle", action="store_true", help="take POST /-/reload"
    )
    parser.add_argument("--control", metavar="SOCKET", help="control socket")
    parser.add_argument(
        "--ready",
        choices=tuple(SUPERVISORS),
        default="notify",
        help="how to tell the init system that it is ready (notify)",
    )
    parser.add_argument(
        "--log.level",
        dest="log_level",
        choices=log.LEVELS,
        default="info",
        help="least level of what is logged (info)",
    )
    parser.add_argument(
        "--log.format",
        dest="log_format",
        choices=("logfmt", "json"),
        default="logfmt",
        help="form of the log (logfmt)",
    )


def run(args: argparse.Namespace) -> int:
    """Run until TERM or INT. Return 0 then, 1 if it cannot start, 2 for a wrong configuration."""
    log.setup(args.log_level, args.log_format)
    try:
        settings = settings_of(args)
        return asyncio.run(_main(args, settings))
    except (SettingsError, WebConfigError) as error:
        print(f"steadyd: {error}", file=sys.stderr)
        return 2
    except (StoreError, WebError) as error:
        print(f"steadyd: {error}", file=sys.stderr)
        return 1


def settings_of(args: argparse.Namespace) -> Settings:
    """Return the configuration with the command line over it. Raises SettingsError."""
    web = {
        "listen": args.listen,
        "config_file": args.web_config,
        "enable_lifecycle": args.lifecycle or None,
    }
    over = {
        "rules": args.rules,
        "state": args.state,
        "control": args.control,
        "cycle": args.cycle,
        "init": args.init,
        "dry_run": args.dry_run or None,
        "web": _given(web),
        "routes": _routes(args.route),
    }
    return load(args.config, _given(over), strict=True)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value}


def _routes(texts: Sequence[str]) -> dict[str, list[str]]:
    routes: dict[str, list[str]] = {}
    for text in texts:
        name, equals, url = text.partition("=")
        if not equals or not name or not url:
            raise SettingsError(f"--route {name}: write NAME=URL, or NAME=file:PATH")
        if not url.startswith("file:"):
            logger.warning(
                "the URL of route %s shows in the process list; use --route %s=file:PATH",
                name,
                name,
            )
        routes.setdefault(name, []).append(url)
    return routes


def _detecting(settings: Settings) -> Callable[[bool], Sequence[InitSystem]]:
    url = settings.inits.supervisord.url
    return lambda mere: detect(settings.init, supervisord=url, processes=mere)


async def _main(args: argparse.Namespace, settings: Settings) -> int:
    heap.confine()
    _raise_descriptor_limit()
    store = Store(Path(settings.state), machine_id=_machine_id(), boot_id=_boot_id())
    try:
        supervisor = SUPERVISORS[args.ready]()
        app = App(settings, store, _detecting(settings), ProcSampler(), supervisor)
        for warning in settings.warnings():
            logger.warning("%s", warning)
        web = Web(
            app,
            listen=settings.web.listen,
            config_file=settings.web.config_file,
            lifecycle=settings.web.enable_lifecycle,
            details=settings.web.show_details,
            control=settings.control,
            jobs=settings.job_socket,
            token=settings.secret(settings.jobs.token, "jobs.token"),
        )
        await web.start()
        others = [heap.keep_small()]
        if settings.inspeqtor.socket:
            # few hosts have cron lines and hooks of Inspeqtor's
            from steadyd.exposition.inspeqtor import InspeqtorSocket

            others.append(InspeqtorSocket(app, settings.inspeqtor.socket).run())
        await _until_signal(app, web, supervisor, *others)
    finally:
        store.close()
    if store.trouble:
        raise StoreError(f"{store.trouble}; what was not written is lost")
    return 0


async def _until_signal(
    app: App, web: Web, supervisor: Supervisor, *others: Coroutine[Any, Any, None]
) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, app.reload_soon)
    running = asyncio.create_task(app.run(web.run(), _say_ready(app, web, supervisor), *others))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    supervisor.stopping()
    stopping.cancel()
    if not running.done():
        running.cancel()
    try:
        await running
    except asyncio.CancelledError:
        logger.info("stopped")


async def _say_ready(app: App, web: Web, supervisor: Supervisor) -> None:
    await app.ready.wait()
    heap.settle()
    logger.info("%s; %s", app.summary, ", ".join(web.addresses))
    supervisor.ready(app.summary)
    from steadyd.cli.firstwords import first_words

    await app.learn_rights()
    for level, line in first_words(app.snapshot(), app.routed):
        logger.log(level, "%s", line)


def _raise_descriptor_limit() -> None:
    """Sampling keeps a descriptor per process: use what the host allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _machine_id() -> str:
    try:
        return Path("/etc/machine-id").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return "none"


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
