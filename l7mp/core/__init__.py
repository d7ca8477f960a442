"""Sessions, the ring that they are made of, and the proxy that owns them."""
