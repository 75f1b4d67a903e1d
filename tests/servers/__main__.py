"""Starts the servers of the tests and prints their URLs: ``python -m tests.servers [--durable] [name ...]``."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.servers.fleet import Fleet, fleet
from tests.servers.server import registry
from tests.servers.sources import Unavailable


def main() -> None:
    """Runs until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"some of {', '.join(registry)}; all when left out")
    parser.add_argument("--durable", action="store_true", help="keep what is confirmed through a power failure")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - registry.keys():
        parser.error(f"no engine {', '.join(sorted(unknown))}; there are {', '.join(registry)}")
    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    with fleet() as servers:
        show(servers, arguments.names or list(registry), durable=arguments.durable)
        print("Ctrl-C stops them.", flush=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        signal.sigwait(signals)


def show(servers: Fleet, names: list[str], *, durable: bool) -> None:
    """Starts servers beside each other, and prints each as an assignment that a shell and the tests understand."""

    def line(name: str) -> str:
        server = servers.shared(name, durable=durable)
        try:
            return f"export {server.variable}={shlex.quote(server.url())}"
        except Unavailable as reason:
            return f"# {reason}"

    with ThreadPoolExecutor() as pool:
        for text in pool.map(line, names):
            print(text, flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
