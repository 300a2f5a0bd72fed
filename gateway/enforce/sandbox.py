"""The decoder child, `python -m gateway sandbox`: one object in, one view out, then it is killed.

Everything that parses bytes of others runs here. It holds the data keys of one object and nothing else, talks
over standard input and output, and says of an error only a reason of the closed list.
"""

import json
import sys

from gateway.enforce.confinement import confine_calls, confine_process


def main() -> int:
    """Serve one job. Exit code 0 when a result or a reason was sent."""
    granted = confine_process()
    # Only now: pyarrow starts threads, and a process with threads cannot change its namespaces.
    from gateway.enforce import protocol
    from gateway.enforce.pipe import Pipe
    from gateway.enforce.sandbox_work import Work, warm_up

    warm_up()
    granted += confine_calls()
    pipe = Pipe()
    pipe.send(protocol.HELLO, json.dumps(granted).encode())
    try:
        kind, payload = pipe.receive()
        if kind != protocol.JOB:
            return 2
        Work(pipe).run(protocol.decode_job(payload))
    except (EOFError, BrokenPipeError):
        return 1  # the parent is gone
    return 0


if __name__ == "__main__":
    sys.exit(main())
