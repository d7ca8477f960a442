"""One file for each protocol; the registry finds them here."""
