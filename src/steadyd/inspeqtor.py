"""PURE: what an `inspeqtor.conf` means here: settings of ours, and Apprise URLs for its channels.

The channels and how Inspeqtor 2.0.0 reaches them: inspeqtor.md, sections 3.1 and 8. A route whose
channel cannot be used goes where the default route goes, so that nothing is told to nobody.
Values of parameters never stand in a message: they may be secrets.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote, urlsplit

from msgspec import Struct

from steadyd.rulefiles import quotes
from steadyd.rulefiles.diagnostics import Diagnostic, Report, printable, quoted
from steadyd.rulefiles.inspeqtorconf import Conf, Route, Setting

DEFAULT: Final = "default"  # what the route without a name is called here

_FROM: Final = "inspeqtor@example.com"  # Inspeqtor's own default
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")
_LONGEST: Final = 2**32 - 1  # Inspeqtor's numbers are unsigned, of 32 bits
_DAY, _TEN_YEARS = 86_400, 3650 * 86_400  # what the settings take
_HOST: Final = re.compile(
    r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9_.])?|[0-9A-Fa-f:.]{2,45}"
)
_ADDRESS: Final = re.compile(r"[^@\s,;]+@(?:localhost|[^@\s,;]+\.[^@\s,;]{2,})")
_PLACE: Final = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")
_SLACK: Final = re.compile(r"/services/([A-Za-z0-9]+)/([A-Za-z0-9]+)/([A-Za-z0-9]+)/?")
_WORKFLOW: Final = re.compile(r"/(workflow|trigger)s/([A-Za-z0-9][A-Za-z0-9/_-]+)")


class Meaning(Struct, frozen=True):
    """What the file says, None and "" where it says nothing.

    `cycle` and `deploy` are durations as in steadyd.toml, `statsd` is HOST:PORT. A route with no
    URL tells nobody, and is meant to.
    """

    cycle: str | None
    deploy: str | None
    statsd: str
    routes: Mapping[str, tuple[str, ...]]
    diagnostics: tuple[Diagnostic, ...]


class _Unusable(Exception):
    """An error or a warning was reported: alerts of this route go to the default route."""


def meaning(conf: Conf) -> Meaning:
    """Return what a parsed file means, with its syntax errors and all that is wrong besides."""
    report = Report(conf.places)
    variables = {each.key: each for each in reversed(conf.settings)}
    for key, setting in variables.items():
        if key not in _VARIABLES:
            near = report.nearest(key, _VARIABLES)
            report.warning(setting.start, f"the variable {quoted(key)} has no meaning", near)
        elif _VARIABLES[key]:
            text = f"{key} has no effect in steadyd"
            report.warning(setting.start, text, _VARIABLES[key])
    cycle = _seconds(variables.get("cycle_time"), "15s", 1, _DAY, report)
    deploy = _seconds(variables.get("deploy_length"), "300s", 0, _TEN_YEARS, report)
    statsd = _statsd(variables.get("statsd_location"), report)
    routes = _routes(conf, report)
    return Meaning(cycle, deploy, statsd, routes, (*conf.diagnostics, *report.done()))


# The known variables, and what to write instead of those without effect.
_VARIABLES: Final = {
    "cycle_time": "",
    "deploy_length": "",
    "statsd_location": "",
    "log_level": "steadyd run --log.level=debug",
    "expose_port": 'in steadyd.toml: [web] listen = ["127.0.0.1:10870"]',
}


def _seconds(
    given: Setting | None, default: str, least: int, most: int, report: Report
) -> str | None:
    if given is None:
        return None
    text = given.value
    if not re.fullmatch("[0-9]{1,20}", text) or int(text) > _LONGEST:
        mend = "write whole seconds: 15"
        report.warning(given.value_start, f"{quoted(text)} is no number; it is {default}", mend)
        return None
    if not least <= int(text) <= most:
        shown = f"{given.key} is not between {least} and {most} seconds; it is {default}"
        report.warning(given.value_start, shown)
        return None
    return f"{int(text)}s"


def _statsd(given: Setting | None, report: Report) -> str:
    if given is None:
        return ""
    found = _PLACE.fullmatch(given.value)
    if found is None or not 0 < int(found[2]) < 65_536:
        text = f"{quoted(given.value)} is no place of a statsd; nothing is sent"
        report.error(given.value_start, text, "write HOST:PORT: 127.0.0.1:8125")
        return ""
    return given.value


def _routes(conf: Conf, report: Report) -> dict[str, tuple[str, ...]]:
    routes: dict[str, tuple[str, ...]] = {}
    unusable: list[str] = []
    seen: set[str] = set()
    for route in sorted(conf.routes, key=lambda each: each.name != ""):
        name = _name(route, report)
        if name in seen:
            text = f"the route {quoted(name)} was given before; the first one counts"
            report.warning(route.start, text, "give each a name: send alerts to ops via …")
            continue
        seen.add(name)
        try:
            routes[name] = _targets(route, report)
        except _Unusable:
            unusable.append(name)
    instead = routes.get(DEFAULT)
    if instead is not None:
        routes |= dict.fromkeys(unusable, instead)
    elif conf.routes:
        text = "there is no usable default route: alerts without a route go to the log only"
        report.warning(conf.routes[0].start, text, "add: send alerts via CHANNEL with …")
    return routes


def _name(route: Route, report: Report) -> str:
    if quotes.is_quoted(route.name):
        report.warning(route.start, f"the quotes around {quoted(route.name)} are taken off")
    return printable(quotes.bare(route.name)) or DEFAULT


def _targets(route: Route, report: Report) -> tuple[str, ...]:
    """Return the URLs of a route. Raises _Unusable."""
    if route.channel not in _CHANNELS:
        near = report.nearest(route.channel, _CHANNELS) or "known: " + " ".join(_CHANNELS)
        _refuse(report, route.channel_start, f"there is no channel {quoted(route.channel)}", near)
    make, required, optional = _CHANNELS[route.channel]
    params = route.params
    for key in required:
        if not params.get(key):
            text = f"{route.channel} needs the parameter {key}"
            _refuse(report, route.channel_start, text, f"add: {key} …")
    for setting in route.settings:
        if optional and setting.key not in (*required, *optional):
            near = report.nearest(setting.key, (*required, *optional))
            text = f"{route.channel} has no parameter {quoted(setting.key)}"
            report.warning(setting.start, text, near)
    return make(route, params, report)


def _refuse(report: Report, start: int, text: str, help: str) -> None:
    report.error(start, f"{text}; alerts of this route go to the default route", help)
    raise _Unusable


# Channels


def _email(route: Route, params: Mapping[str, str], report: Report) -> tuple[str, ...]:
    """Mail: with a user name by STARTTLS on tls_port, else unencrypted on port 25."""
    server, user, receiver = params["smtp_server"], params.get("username", ""), params["to_email"]
    port = params.get("tls_port") or "587"
    if _HOST.fullmatch(server) is None:
        _refuse(report, route.channel_start, "smtp_server is no host name", "smtp_server HOST")
    if not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65_536:
        _refuse(report, route.channel_start, "tls_port is no port", "tls_port 587")
    if "@example.com" in receiver[1:]:
        text = "mail to @example.com is not sent, as in Inspeqtor: this route tells nobody"
        report.warning(route.channel_start, text, "write your address after to_email")
        return ()
    if not all(_ADDRESS.fullmatch(each.strip()) for each in receiver.split(",")):
        text = "to_email is no complete address: mail to it cannot be delivered"
        report.warning(route.channel_start, text, "write NAME@DOMAIN, such as ops@mail.example.org")
    sender, password = params.get("from_email") or _FROM, params.get("password", "")
    if not user:
        return (mail_url(server, 25, sender, receiver),)
    # On this host the password does not leave it, and no certificate would fit.
    mode = "insecure" if server in _LOCAL else "starttls"
    return (mail_url(server, int(port), sender, receiver, (user, password), mode),)


def mail_url(
    server: str,
    port: int,
    sender: str,
    receiver: str,
    login: tuple[str, str] | None = None,
    mode: str = "insecure",
) -> str:
    """Return the Apprise URL of one mail; `mode` is insecure, starttls or ssl."""
    query = f"smtp={_quote(server)}&from={_quote(sender)}&to={_quote(receiver)}&mode={mode}"
    who = f"{_quote(login[0])}:{_quote(login[1])}@" if login else ""
    place = f"[{server}]" if ":" in server else server
    return f"{'mailto' if mode == 'insecure' else 'mailtos'}://{who}{place}:{port}/?{query}"


def _gmail(route: Route, params: Mapping[str, str], report: Report) -> tuple[str, ...]:
    """Mail by Google, whatever server is written."""
    if not (params.get("username") and params.get("password")):
        text = "gmail takes no mail without username and password"
        mend = "make an app password in the Google account"
        report.warning(route.channel_start, text, mend)
    return _email(route, {**params, "smtp_server": "smtp.gmail.com"}, report)


def _slack(route: Route, params: Mapping[str, str], report: Report) -> tuple[str, ...]:
    """Slack's incoming webhooks, and whatever else takes JSON of their shape."""
    try:
        url = urlsplit(params["url"])
        host, port = url.hostname or "", url.port
    except ValueError:
        host, port = "", None
    if not host or url.scheme not in ("http", "https") or _HOST.fullmatch(host) is None:
        mend = "url https://hooks.slack.com/services/…"
        _refuse(report, route.channel_start, "the url of slack is none", mend)
    if params.get("icon_emoji"):
        report.warning(route.channel_start, "icon_emoji has no effect in steadyd")
    user = _quote(params.get("username", ""))
    sender = f"{user}@" if user else ""
    if host == "hooks.slack.com" and (found := _SLACK.fullmatch(url.path)):
        return (f"slack://{sender}{'/'.join(found.groups())}/",)
    if host == "hooks.slack.com" and (found := _WORKFLOW.fullmatch(url.path)):
        return (f"slack://{found[2].strip('/')}/?mode={found[1]}",)
    # Apprise posts Slack's shape to HOST/PATH/hooks/TOKEN: a path that ends in # leaves the rest
    # out, since a fragment is never sent.
    scheme = "mmosts" if url.scheme == "https" else "mmost"
    place = f"[{host}]" if ":" in host else host
    where = quote(url.path + (f"?{url.query}" if url.query else ""), safe="/")
    return (f"{scheme}://{sender}{place}{f':{port}' if port else ''}{where or '/'}%23/x?image=no",)


def _ended(route: Route, params: Mapping[str, str], report: Report) -> tuple[str, ...]:
    """Report a service that was shut down."""
    text = f"the service {route.channel} has ended; alerts of this route go to the default route"
    mend = "use slack, email, or any Apprise URL in [routes] of steadyd.toml"
    report.warning(route.channel_start, text, mend)
    raise _Unusable


def _null(route: Route, params: Mapping[str, str], report: Report) -> tuple[str, ...]:
    """Tell nobody, which is meant."""
    return ()


_Make = Callable[[Route, Mapping[str, str], Report], tuple[str, ...]]
_MAIL: Final = ("from_email", "username", "password", "tls_port")

# What makes the URLs, the parameters that must be there, and those that may; none: any may.
_CHANNELS: Final[Mapping[str, tuple[_Make, tuple[str, ...], tuple[str, ...]]]] = {
    "email": (_email, ("smtp_server", "to_email"), _MAIL),
    "gmail": (_gmail, ("to_email",), ("smtp_server", *_MAIL)),
    "slack": (_slack, ("url",), ("username", "icon_emoji")),
    "campfire": (_ended, ("team", "token", "room"), ()),
    "hipchat": (_ended, ("token", "room"), ()),
    "flowdock": (_ended, ("token",), ()),
    "null": (_null, (), ()),
}


def _quote(text: str) -> str:
    return quote(text, safe="")
