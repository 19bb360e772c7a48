"""Carriers' feeds: how they are read, where they wait, and the record of each time they were."""
