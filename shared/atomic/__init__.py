"""The atomic operations of the store: one Lua file each, and their typed wrappers."""
