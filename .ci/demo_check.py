#!/usr/bin/env python3
"""Reads a demo's summary of the real hour on stdin and checks what it must show.

Usage: twinline demo --from REAL_HOUR --json | demo_check.py [--no-kernel-drops]
"""

import json
import sys

MESSAGES = 92_003


def check(holds, what, where):
    if not holds:
        sys.exit(f"{what} is not so: {json.dumps(where, indent=1)}")


def main():
    demo = json.load(sys.stdin)
    check(demo["exit_code"] == 0 and demo["equal"], "all journals are equal", demo)
    source = demo["source"]
    check(source["messages"] == sum(source["by_type"].values()) == MESSAGES, "all source messages counted", source)
    for listener in demo["listeners"]:
        gaps, loss = listener["gaps"], listener["loss"]
        check(gaps["filled"] > 0 and gaps["lost"] == loss["lost"] == 0, "gaps are filled", listener)
        if "--no-kernel-drops" in sys.argv:
            check_lines(listener)
    print(
        f"{MESSAGES} source messages at {len(demo['listeners'])} listeners, all equal; the kernel dropped "
        f"{demo['kernel_drops']}; gaps filled: {[listener['gaps']['filled'] for listener in demo['listeners']]}"
    )


def check_lines(listener):
    """Where the kernel drops nothing, a line loses what the impairer took, and recovery brings about what both lost."""
    missing = {}
    for line in ("a", "b"):
        heard, fates = listener["lines"][line], listener["impairer"][line]
        missing[line] = fates["missing"]
        check(heard["kernel_drops"] == 0, "the kernel drops nothing", heard)
        check(heard["lost"] == missing[line], "lost on a line is what the impairer took", listener)
    by_chance = missing["a"] * missing["b"] / listener["messages"]
    both = listener["impairer"]["a"]["lost_both"]["messages"] + by_chance
    check(listener["delivered"]["recovery"] <= 2 * both, "recovery brings at most twice what both lines lost", listener)


if __name__ == "__main__":
    main()
