"""inspeqtorctl: Inspeqtor's control script, so that cron lines and hooks go on working.

Sends its arguments as one line to the socket, and prints the answer.
"""

import os
import socket
import sys

SOCKET = "/var/run/inspeqtor.sock"
SECONDS = 10.0
MOST = 16 << 20  # bytes of an answer


def main() -> int:
    """Ask and print; 1 where nobody answers."""
    path = os.environ.get("INSPEQTOR_SOCK") or SOCKET
    line = " ".join(sys.argv[1:]).replace("\n", " ") + "\n"
    answer = b""
    try:
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(SECONDS)
            channel.connect(path)
            channel.sendall(line.encode("utf-8", "surrogateescape"))
            while (piece := channel.recv(65_536)) and len(answer) < MOST:
                answer += piece
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        mend = "is steadyd running, with `socket` in [inspeqtor] of steadyd.toml?"
        print(f"inspeqtorctl: cannot ask {path}: {why or 'no answer'}; {mend}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
