#!/usr/bin/env python3
"""Counts the instructions of the hot path's pieces under callgrind, and compares them with what is stored.

Times on a shared machine are noise; instructions are the same in every run. They change with the compiler, too: where a
new one is the reason, or a change is worth its price, run this with --renew and commit benches/instructions.json.
"""

import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
STORED = os.path.join(ROOT, "benches", "instructions.json")
# The checksum's instructions depend on the processor that valgrind shows: it is taken out, and shown, but not compared.
CHECKSUM = "checksum"
WITH_CHECKSUM = "encode, checksum and all"


def build(cargo_arguments):
    """The benchmark's executable."""
    command = ["cargo", "bench", "-p", "twinline-benches", "--bench", "instructions", "--no-run"]
    command += ["--message-format", "json", *cargo_arguments]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    for line in output.splitlines():
        message = json.loads(line)
        if message.get("target", {}).get("name") == "instructions" and message.get("executable"):
            return message["executable"]
    sys.exit("instruction_check: cargo named no executable")


def count(program):
    """For each piece: instructions a unit, what the unit is, and the units."""
    with tempfile.TemporaryDirectory() as directory:
        out = os.path.join(directory, "out")
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
        command += ["--compress-strings=no", "--compress-pos=no", program]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        with open(out) as file:
            costs = inclusive(file)
    counted = {}
    for line in run.stdout.splitlines():
        name, function, units, unit = line.split("\t")
        pattern = re.compile(re.escape(function) + r"(::h[0-9a-f]{16})?$")
        cost = sum(cost for called, cost in costs.items() if pattern.search(called))
        if cost == 0:
            sys.exit(f"instruction_check: callgrind saw no call of {function}")
        counted[name] = (cost, int(units), unit)
    return counted


def inclusive(lines):
    """Instructions below each function that is called, the calls of all callers together."""
    costs = {}
    called = None
    for line in lines:
        if line.startswith("cfn="):
            called = line[len("cfn="):].strip()
        elif line.startswith("calls="):
            cost = int(next(lines).split()[1])
            costs[called] = costs.get(called, 0) + cost
    return costs


def figures(counted):
    """Instructions a unit, the checksum's taken out."""
    checksum, packets, unit = counted.pop(CHECKSUM)
    print(f"{CHECKSUM} of a full packet (not compared): {checksum / packets:.0f} instructions a {unit}")
    cost, units, unit = counted.pop(WITH_CHECKSUM)
    counted["encode, without the checksum"] = (cost - checksum, units, unit)
    return {name: (cost / units, unit) for name, (cost, units, unit) in counted.items()}


def main():
    arguments = sys.argv[1:]
    renew = "--renew" in arguments
    found = figures(count(build([argument for argument in arguments if argument != "--renew"])))
    if renew:
        stored = {"margin": 0.05, "instructions": {name: round(value, 2) for name, (value, _) in found.items()}}
        with open(STORED, "w") as file:
            json.dump(stored, file, indent=2)
            file.write("\n")
    with open(STORED) as file:
        stored = json.load(file)
    margin, worse = stored["margin"], []
    print(f"{'piece':<30} {'instructions':>12} {'stored':>9} {'change':>8}")
    for name, (value, unit) in found.items():
        before = stored["instructions"].get(name)
        if before is None:
            worse.append(f"{name}: not stored")
            continue
        change = value / before - 1
        print(f"{name:<30} {value:>12.2f} {before:>9.2f} {change:>+8.1%} a {unit}")
        if change > margin:
            worse.append(f"{name}: {value:.2f} instructions a {unit}, stored are {before:.2f}")
    if worse:
        print(f"more than {margin:.0%} beyond what is stored:", *worse, sep="\n  ")
        sys.exit("If it is meant, or a new compiler is the reason: .ci/instruction_check.py --renew, and commit the file.")


if __name__ == "__main__":
    main()
