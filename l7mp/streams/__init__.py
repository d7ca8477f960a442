"""Twisted's transports, descriptors and processes as streams."""
