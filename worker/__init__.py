"""The background worker: it reads carriers' feeds into the inventory."""
