#!/usr/bin/env python3
"""Holds our books to another project's, and to what LOBSTER published of the same hour.

Real order flow goes through `twinline demo`: publisher, two lossy lines, recovery, one listener. The books that
`twinline book` builds from the listener's journal must then report the very sequence of best bids and offers, prices and
sizes, that the Python package itch-book reports on the ITCH file itself: of the real hour of AAPL, and of 20 symbols made
of it. Of the real hour, nearly all of these states stand in LOBSTER's own file in the same order.

Usage: book_check.py [TWINLINE]
Needs ../shared beside the repository; without it this is skipped, but not in CI.
"""

import bisect
import collections
import csv
import datetime
import glob
import gzip
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAME = "aapl-20120621-0930-1030"
IMPAIR = "loss=2%,both=0.5%,dup=1%,reorder=1%,seed=7"
DAY = datetime.date(2012, 6, 21)
CHANGES, LIVE_ORDERS, UNSEEN_ORDERS, STATES_OF_LOBSTER = 23_457, 380, 84, 23_342
SYMBOLS = 20


def check(holds, what):
    if not holds:
        sys.exit(f"not so: {what}")


def shared():
    """The directory of data and tools beside the repository, or None."""
    for parent in (ROOT, *ROOT.parents):
        if (parent / "shared" / "data" / f"{NAME}.itch50.gz").exists():
            return parent / "shared"
    return None


def ten_thousandths(price):
    """A decimal number as a count of 1/10,000; 0 for no price, as itch-book has it."""
    whole, _, part = (price or "0").partition(".")
    check(len(part) <= 4, f"{price} has no more than four decimals")
    return int(whole) * 10_000 + int(part.ljust(4, "0"))


def ours(twinline, itch, place):
    """What `twinline book` says of the listener's journal of a demo: the summary, and the best bids and offers by
    instrument."""
    demo = [twinline, "demo", "--from", str(itch), "--impair", IMPAIR, "--listeners", "1", "--keep", "--json"]
    environment = dict(os.environ, TMPDIR=place)
    done = subprocess.run(demo + ["--progress", "off"], env=environment, stdout=subprocess.PIPE, text=True, check=False)
    check(done.returncode == 0, f"the demo of {itch} ends well: {done.stdout}")
    (journal,) = glob.glob(os.path.join(place, "twinline-demo-*", "listener-1"))
    book = [twinline, "book", journal, "--progress", "off"]
    summary = json.loads(subprocess.run(book + ["--json"], stdout=subprocess.PIPE, text=True, check=True).stdout)
    rows = subprocess.run(book + ["--changes"], stdout=subprocess.PIPE, text=True, check=True).stdout
    states = collections.defaultdict(list)
    for row in csv.DictReader(io.StringIO(rows)):
        states[int(row["instrument"]) & 0xFFFF].append(
            (
                ten_thousandths(row["bid_price"]),
                int(row["bid_quantity"] or 0),
                ten_thousandths(row["ask_price"]),
                int(row["ask_quantity"] or 0),
            )
        )
    return summary, states


def theirs(itch):
    """What itch-book says of the ITCH file: its figures, and the best bids and offers by instrument."""
    import itch_book

    feed = itch_book.Feed(str(itch), date=DAY, price_type="fixed")
    states = collections.defaultdict(list)
    for batch in feed.batches(tables=("bbo",)):
        bbo = batch.bbo
        columns = [bbo[name].tolist() for name in ("locate", "bid_px", "bid_sz", "ask_px", "ask_sz")]
        for locate, *state in zip(*columns):
            states[locate].append(tuple(state))
    return feed.stats, states


def compare(what, summary, our_states, stats, their_states, symbols):
    totals = summary["totals"]
    check(totals["changes"] == symbols * CHANGES, f"{what}: {symbols * CHANGES} changes: {totals}")
    check(totals["live_orders"] == stats["live_orders"] == symbols * LIVE_ORDERS, f"{what}: live orders: {totals}")
    check(totals["unseen_orders"] == stats["missing_ref"] == symbols * UNSEEN_ORDERS, f"{what}: unseen: {totals}")
    check(totals["crossed"] == stats["crossed_books"] == totals["invalid"] == 0, f"{what}: no crossed book: {totals}")
    check(our_states.keys() == their_states.keys(), f"{what}: the same instruments")
    for instrument, states in our_states.items():
        for number, (our, their) in enumerate(zip(states, their_states[instrument])):
            check(our == their, f"{what}, instrument {instrument}, change {number}: {our} is {their}")
        check(len(states) == len(their_states[instrument]), f"{what}, instrument {instrument}: as many changes")
    print(f"{what}: {totals['changes']} best bids and offers of {len(our_states)} instruments equal itch-book's, one by one")


def common_subsequence(one, other):
    """How many states of `one` stand in `other` in the same order, at most."""
    places = collections.defaultdict(list)
    for place, state in enumerate(other):
        places[state].append(place)
    ends = []  # the least last place of a common subsequence, by its length
    for state in one:
        for place in reversed(places.get(state, ())):
            length = bisect.bisect_left(ends, place)
            ends[length : length + 1] = [place]
    return len(ends)


def main():
    twinline = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target" / "release" / "twinline")
    beside = shared()
    if beside is None:
        if os.environ.get("CI"):
            sys.exit("in CI ../shared must be there")
        print("skipped: ../shared with the real hour of market data is not there")
        return
    real = beside / "data" / f"{NAME}.itch50.gz"
    with tempfile.TemporaryDirectory(prefix="twinline-book-check-") as place:
        hour = os.path.join(place, "hour")
        os.mkdir(hour)
        summary, states = ours(twinline, real, hour)
        compare("the real hour", summary, states, *theirs(real), 1)
        (states,) = states.values()
        with gzip.open(beside / "data" / f"{NAME}.lobster-best.csv.gz", "rt") as file:
            rows = [tuple(map(int, row)) for row in csv.reader(file)]
        found = common_subsequence(states, [(bid, size, ask, asked) for ask, asked, bid, size in rows])
        check(found >= STATES_OF_LOBSTER, f"{STATES_OF_LOBSTER} states stand in LOBSTER's file in order, not {found}")
        print(f"the real hour: {found} of {len(states)} states stand in LOBSTER's file in the same order")

        day = os.path.join(place, "day.itch50")
        maker = beside / "tools" / "itch_day.py"
        subprocess.run([sys.executable, str(maker), str(real), str(SYMBOLS), day], stdout=subprocess.DEVNULL, check=True)
        many = os.path.join(place, "many")
        os.mkdir(many)
        compare(f"{SYMBOLS} symbols", *ours(twinline, day, many), *theirs(day), SYMBOLS)


if __name__ == "__main__":
    main()
