"""Write the sample feed: `python -m deploy.sample_feed.generate`.

The stock is invented, its shape is not: a carrier holds thousands blocks (NPA-NXX-X) and sells from them, so
numbers come in runs with gaps, and a run shares its capabilities. Runs also keep the file small. The same
code always writes the same rows.
"""

import gzip
import random
from collections.abc import Iterator
from typing import Final, NamedTuple

from deploy.sample_feed import SAMPLE_FEED
from shared.phone_number import TOLL_FREE_AREA_CODES, e164

AREA_CODES_TEXT: Final = """
201 202 203 205 206 207 208 209 210 212 213 214 215 216 217 218 219 220 223 224 225 227 228 229 231 234 235
239 240 248 251 252 253 254 256 260 262 267 269 270 272 274 276 279 281 283 301 302 303 304 305 307 308 309
310 312 313 314 315 316 317 318 319 320 321 323 324 325 326 327 329 330 331 332 334 336 337 339 341 346 347
350 351 352 353 360 361 363 364 369 380 385 386 401 402 404 405 406 407 408 409 410 412 413 414 415 417 419
423 424 425 430 432 434 435 440 442 443 445 447 448 458 463 464 469 470 472 475 478 479 480 484 501 502 503
504 505 507 508 509 510 512 513 515 516 517 518 520 530 531 534 539 540 541 551 557 559 561 562 563 564 567
570 571 572 573 574 575 580 582 585 586 601 602 603 605 606 607 608 609 610 612 614 615 616 617 618 619 620
623 626 628 629 630 631 636 640 641 645 646 650 651 656 657 659 660 661 662 667 669 678 680 681 682 686 689
701 702 703 704 706 707 708 712 713 714 715 716 717 718 719 720 724 725 726 727 728 730 731 732 734 737 738
740 743 747 748 754 757 760 762 763 765 769 770 771 772 773 774 775 779 781 785 786 801 802 803 804 805 806
808 810 812 813 814 815 816 817 818 820 821 826 828 830 831 832 835 838 839 840 843 845 847 848 850 854 856
857 858 859 860 862 863 864 865 870 872 878 901 903 904 906 907 908 909 910 912 913 914 915 916 917 918 919
920 925 928 929 930 931 934 936 937 938 940 941 943 945 947 948 949 951 952 954 956 959 970 971 972 973 975
978 979 980 983 984 985 986 989

204 226 236 249 250 257 263 289 306 343 354 365 367 368 382 403 416 418 428 431 437 438 450 468 474 506 514
519 548 579 581 584 587 604 613 639 647 672 683 705 709 742 753 778 780 782 807 819 825 867 873 879 902 905
942
"""
"""Assigned area codes: the states' and the District of Columbia's, then Canada's."""

AREA_CODES: Final = tuple(AREA_CODES_TEXT.split())

LARGE_AREA_CODES: Final = frozenset(
    {"206", "212", "213", "214", "303", "305", "310", "312", "404", "408", "415", "416", "512", "514", "602"}
    | {
        "604",
        "617",
        "619",
        "646",
        "647",
        "702",
        "713",
        "718",
        "773",
        "778",
        "818",
        "832",
        "917",
        "954",
        "972",
    }
)
"""Cities, of which the sample has more."""

SEED: Final = 20_250_101


class Run(NamedTuple):
    """Consecutive numbers that can do the same."""

    area_code: str
    first: int
    """Local digits of the first number."""
    length: int
    sms: bool
    mms: bool


# 555-0100 to 555-0199 are fictional, so examples and tests may name numbers from this run.
DOCUMENTED_RUNS: Final = (
    Run("415", 555_0100, 100, sms=True, mms=True),
    Run("415", 555_0450, 10, sms=True, mms=True),
)

BLOCK_SIZE: Final = 1_000
# N11 are service codes, and 555 is left to the runs above.
EXCHANGES_LEFT_OUT: Final = frozenset({"555", *(f"{first}11" for first in "23456789")})
BLOCKS: Final = tuple(block for block in range(2_000, 10_000) if str(block)[:3] not in EXCHANGES_LEFT_OUT)
CAPABILITIES: Final = ((True, True), (True, True), (True, False), (False, False))


def runs() -> Iterator[Run]:
    """Yield the runs of the feed, in no particular order and without overlaps."""
    # Not a secret: the file must come out the same each time.
    random_source = random.Random(SEED)  # noqa: S311
    yield from DOCUMENTED_RUNS
    for area_code in sorted({*AREA_CODES, *TOLL_FREE_AREA_CODES}):
        if area_code in LARGE_AREA_CODES or area_code in TOLL_FREE_AREA_CODES:
            block_count = random_source.randint(4, 8)
        else:
            block_count = random_source.randint(1, 2)
        for block in random_source.sample(BLOCKS, block_count):
            yield from _runs_of_block(area_code, block * BLOCK_SIZE, random_source)


def _runs_of_block(area_code: str, start: int, random_source: random.Random) -> Iterator[Run]:
    end = start + BLOCK_SIZE
    first = start + random_source.randrange(100)
    while first < end:
        length = min(random_source.randint(10, 80), end - first)
        sms, mms = random_source.choice(CAPABILITIES)
        yield Run(area_code, first, length, sms, mms)
        first += length + random_source.randint(50, 450)


def content() -> bytes:
    """Return the feed as CSV, one row a number, sorted by number."""
    rows = ["number,sms,mms\n"]
    for area_code, first, length, sms, mms in sorted(runs()):
        flags = f"{sms},{mms}".lower()
        rows.extend(f"{e164(area_code, local)},{flags}\n" for local in range(first, first + length))
    return "".join(rows).encode()


def main() -> None:
    """Write the feed to its place in the package."""
    # Without a time in it, the file changes only when its rows do.
    SAMPLE_FEED.write_bytes(gzip.compress(content(), compresslevel=9, mtime=0))


if __name__ == "__main__":
    main()
