"""How twistd and twist find us; it imports nothing of ours until it is chosen."""

from __future__ import annotations

from twisted.application.service import ServiceMaker

l7mp = ServiceMaker("l7mp", "l7mp.tap", "A multiprotocol proxy", "l7mp")
