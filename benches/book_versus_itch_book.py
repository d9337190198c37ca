#!/usr/bin/env python3
"""Our books beside another project's, on one core each in turn, in one run.

Makes a day of real order flow (../shared/tools/itch_day.py, 20 symbols), then in each of several rounds times both over
the whole file in memory: ours (`cargo bench --bench book`: ITCH translated as the publisher does, full books with queue
positions, every change of a best bid or offer reported) and the Python package itch-book in the fastest of the ways in
which it reports best bids and offers: its session fed with the whole file, or with parts of it. Both parse, build full
books and report the same changes. Prints the medians and the ratio; exit code 1 if ours is not at least twice as fast.

Usage: book_versus_itch_book.py [ROUNDS [SYMBOLS]]     needs itch-book, a Rust toolchain, ../shared
"""

import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

from itch_book import Session

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAME = "aapl-20120621-0930-1030.itch50.gz"
LEAST = 2.0
# How itch-book is fed: the whole file at once, or in parts of so many bytes, taking the rows after each part.
WAYS = {"whole": None, "parts of 1 MiB": 1 << 20, "parts of 64 KiB": 1 << 16}


def shared():
    for parent in (ROOT, *ROOT.parents):
        if (parent / "shared" / "data" / NAME).exists():
            return parent / "shared"
    sys.exit("../shared with the real hour of market data is not there")


def theirs(data, part):
    """Messages a second, and changes."""
    parts = [data] if part is None else [data[at : at + part] for at in range(0, len(data), part)]
    session = Session(tables=["bbo"], depth=0, symbols=[])
    session.reserve(1_000_000)
    changes = 0
    start = time.perf_counter()
    for piece in parts:
        session.feed(piece)
        changes += len(session.take_bbo()["seq"])
    elapsed = time.perf_counter() - start
    return session.stats()["messages"] / elapsed, changes


def ours(bench, day):
    """Messages a second, and changes, of the median of three runs."""
    out = subprocess.run([bench, day, "3"], stdout=subprocess.PIPE, text=True, check=True).stdout
    runs = re.findall(r"(\d+) messages, (\d+) changes,.*: ([\d.]+) million messages/s", out)
    return statistics.median(float(run[2]) for run in runs) * 1e6, int(runs[0][1])


def built():
    """The benchmark's binary."""
    command = ["cargo", "bench", "-p", "twinline-benches", "--bench", "book", "--no-run"]
    said = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=True).stderr
    return str(ROOT / re.search(r"Executable .*\((.*)\)", said)[1])


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    symbols = sys.argv[2] if len(sys.argv) > 2 else "20"
    beside = shared()
    bench = built()
    with tempfile.TemporaryDirectory(prefix="twinline-day-") as place:
        day = os.path.join(place, "day.itch50")
        maker = [sys.executable, str(beside / "tools" / "itch_day.py"), str(beside / "data" / NAME), symbols, day]
        subprocess.run(maker, check=True)
        data = pathlib.Path(day).read_bytes()
        rates = {name: [] for name in ("ours", *WAYS)}
        for _ in range(rounds):
            rate, changes = ours(bench, day)
            rates["ours"].append(rate)
            for name, part in WAYS.items():
                rate, reported = theirs(data, part)
                rates[name].append(rate)
                if reported != changes:
                    sys.exit(f"itch-book reports {reported} changes, ours {changes}")
    medians = {name: statistics.median(values) for name, values in rates.items()}
    best = max(WAYS, key=medians.get)
    ratio = statistics.median(one / other for one, other in zip(rates["ours"], rates[best]))
    for name, values in rates.items():
        who = name if name == "ours" else f"itch-book, {name}"
        print(f"{who:<28} {medians[name] / 1e6:6.2f} million messages/s   ({min(values) / 1e6:.2f} to {max(values) / 1e6:.2f})")
    print(f"{changes} changes each; ours is {ratio:.2f} times as fast as itch-book's fastest ({best}), median of {rounds} rounds")
    sys.exit(0 if ratio >= LEAST else 1)


if __name__ == "__main__":
    main()
