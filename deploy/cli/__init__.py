"""The `numbers` command."""
