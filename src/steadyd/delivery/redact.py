"""Take the secrets of a target's URL out of texts about it. Pure."""

import re
from urllib.parse import unquote

MASK = "***"
_PARTS = re.compile(r"[/?#&=@:;,+\s]+")
_BEHIND = re.compile(r"[/?#]")
_SHORT = 4  # shorter parts ("ops", "25") are no secrets, and masking them would eat the text


def redact(text: str, url: str) -> str:
    """Return `text` without any part of `url` but its scheme and its host name."""
    scheme, _, rest = url.partition("://")
    authority, path = _split(rest)
    user, at, host = authority.rpartition("@")
    parts = set(_PARTS.split(path)) | (set(_PARTS.split(user)) if at else set())
    if scheme not in _HOST_FIRST:
        parts |= set(_PARTS.split(host))
    else:
        parts = {part for part in parts if part not in host}
    parts |= {unquote(part) for part in parts}
    text = text.replace(url, f"{scheme}://{MASK}")
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= _SHORT:
            text = text.replace(part, MASK)
    return text


def shown(url: str) -> str:
    """Return what may be shown of a URL: scheme, and the host where that is an address."""
    scheme, _, rest = url.partition("://")
    if scheme not in _HOST_FIRST:
        return f"{scheme}://{MASK}"
    host = _split(rest)[0].rpartition("@")[2]
    return f"{scheme}://{host}/{MASK}"


def _split(rest: str) -> tuple[str, str]:
    """Return the authority of a URL, and what follows it."""
    found = _BEHIND.search(rest)
    end = found.start() if found else len(rest)
    return rest[:end], rest[end:]


# Apprise schemas whose authority is a server; in the others ("slack://TOKEN_A/…") it is a token.
_HOST_FIRST = frozenset(
    (
        *("json", "jsons", "form", "forms", "xml", "xmls", "http", "https", "apprise", "apprises"),
        *("mailto", "mailtos", "ntfy", "ntfys", "gotify", "gotifys", "mattermost", "mmost"),
        *("mmosts", "rocket", "rockets", "matrix", "matrixs", "syslog", "rsyslog", "mqtt", "mqtts"),
    )
)
