"""The feed that a new installation starts with."""
