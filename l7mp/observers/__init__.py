"""Those who are told what happens: log, journal, metrics."""
