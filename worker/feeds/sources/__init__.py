"""What feeds are fetched from: one module a kind of source, each with an `open_source`."""
