"""Measurements over HTTP, one subject each; every module has `measure`, which returns rows of the report."""
