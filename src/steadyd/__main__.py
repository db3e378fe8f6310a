"""`steadyd`, also as `python -m steadyd`."""

import errno
import io
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code (contract.md, section 3)."""
    from steadyd import cli

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal cannot show is no failure
            stream.reconfigure(errors="replace")
    try:
        code = cli.main(sys.argv[1:] if argv is None else argv)
        if not sys.stdout.closed:  # as `lsp` leaves it
            sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of a pipe has gone: there is nobody to tell
        cli.hush()
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO):
            raise
        cli.hush()
        return cli.fail(f"cannot write the answer: {error.strerror}", 1)
    return code


if __name__ == "__main__":
    sys.exit(main())
