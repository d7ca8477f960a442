"""``l7mp -c FILE``: the proxy in the foreground."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from twisted.python import usage

from l7mp import tap
from l7mp.errors import LocalError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal ends it; 0 after SIGINT or SIGTERM, 1 if it cannot start."""

    options = tap.Options()
    try:
        options.parseOptions(list(sys.argv[1:] if arguments is None else arguments))
    except usage.UsageError as error:
        sys.stderr.write(f"l7mp: {error}\n{options.getSynopsis()}\n")
        return 1
    return _run(options)


def _run(options: tap.Options) -> int:
    from twisted.internet import reactor
    from twisted.logger import globalLogBeginner

    import l7mp.protocols
    from l7mp.core.registry import Registry

    registry = Registry.discover(l7mp.protocols)
    try:
        config = tap.configuration(options, registry)
        service = tap.compose(config, registry, reactor, options.document)
    except LocalError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()
    return 0 if service.failed is None else 1
