"""The formats of feeds: one pure parser each."""
