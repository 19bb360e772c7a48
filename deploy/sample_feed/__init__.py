"""The feed that a new installation starts with: invented stock of one carrier, as CSV.

`generate.py` writes the file; it is kept with the source so that nothing has to be generated to start.
"""

from pathlib import Path
from typing import Final

SAMPLE_FEED: Final = Path(__file__).with_name("sample.csv.gz")
"""Gzipped CSV with the columns `number` (E.164), `sms` and `mms` (`true` or `false`), sorted by number."""
