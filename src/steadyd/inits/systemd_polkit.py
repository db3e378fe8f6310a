"""What polkit says of a user's verbs on a unit of systemd, without asking systemd to act."""

from collections.abc import Iterable

from dbus_fast import Variant

from steadyd.inits.link import Address, Link, LinkLost, Refused
from steadyd.inits.processes import started

SERVICE = "org.freedesktop.PolicyKit1"
ACTION = "org.freedesktop.systemd1.manage-units"
_PATH = "/org/freedesktop/PolicyKit1/Authority"
_SECONDS = 25.0  # polkitd may have to start first


class NoVerdict(Exception):
    """Polkit does not answer; str() says why."""


async def refused(
    address: Address, unit: str, verbs: Iterable[str], pid: int, uid: int
) -> list[str]:
    """Return those of systemd's verbs (`restart`, `reload` …) that a process may not ask for.

    Only root may ask this of others. Raises NoVerdict.
    """
    subject = (
        "unix-process",
        {
            "pid": Variant("u", pid),
            "start-time": Variant("t", started(pid)),
            "uid": Variant("i", uid),
        },
    )
    try:
        link = await _opened(address)
        try:
            return [verb for verb in verbs if not await _allowed(link, list(subject), unit, verb)]
        finally:
            await link.close()
    except (LinkLost, Refused) as error:
        raise NoVerdict(str(error)) from None


async def _opened(address: Address) -> Link:
    """Return a link to polkitd, which the bus starts where it does not run yet."""
    bus = "org.freedesktop.DBus"
    starter = await Link.open(address, bus, lambda _: None, lambda: None)
    try:
        body = (SERVICE, 0)
        await starter.call(
            f"/{bus.replace('.', '/')}", bus, "StartServiceByName", "su", body, _SECONDS
        )
    finally:
        await starter.close()
    return await Link.open(address, SERVICE, lambda _: None, lambda: None)


async def _allowed(link: Link, subject: list[object], unit: str, verb: str) -> bool:
    details = {"unit": unit, "verb": verb}
    interface = f"{SERVICE}.Authority"
    body = (subject, ACTION, details, 0, "")
    (answer,) = await link.call(
        _PATH, interface, "CheckAuthorization", "(sa{sv})sa{ss}us", body, _SECONDS
    )
    return bool(answer[0])
