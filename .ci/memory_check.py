#!/usr/bin/env python3
"""Publisher and listener stay small: under 64 MiB of anonymous memory (what mapped journals take does not count) over
ten million messages, and everything arrives.

Usage: memory_check.py TWINLINE [MESSAGES]
"""

import json
import os
import subprocess
import sys
import tempfile
import time

LIMIT_KIB = 64 * 1024
PATIENCE = 600  # seconds
LINES = ["--line-a", "239.77.9.1:17901@127.0.0.1", "--line-b", "239.77.9.2:17902@127.0.0.1"]


def anonymous_kib(pid):
    """The process's anonymous resident memory, or None once it has ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return None


class Part:
    """A process of the command, its summary, and the most anonymous memory it had."""

    def __init__(self, name, command):
        self.name = name
        self.peak = 0
        self.errors = tempfile.TemporaryFile(mode="w+")
        self.process = subprocess.Popen(
            command + ["--json", "--progress", "json"], stdout=subprocess.PIPE, stderr=self.errors, text=True
        )

    def said(self):
        self.errors.seek(0)
        return self.errors.read()

    def wait_ready(self):
        """Waits until it is ready; returns where it listens."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for line in self.said().splitlines():
                event = json.loads(line) if line.startswith("{") else {}
                if event.get("event") == "ready":
                    return event.get("address")
            time.sleep(0.05)
        sys.exit(f"the {self.name} was not ready: {self.said()}")

    def look(self):
        """Measures; true while it runs."""
        self.peak = max(self.peak, anonymous_kib(self.process.pid) or 0)
        return self.process.poll() is None

    def summary(self):
        output = self.process.communicate(timeout=30)[0]
        if self.process.returncode != 0:
            sys.exit(f"the {self.name} ended with {self.process.returncode}: {output} {self.said()}")
        return json.loads(output)


def main():
    twinline = sys.argv[1]
    messages = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000_000
    parts = []
    with tempfile.TemporaryDirectory(prefix="twinline-memory-") as place:
        published, heard = os.path.join(place, "publisher"), os.path.join(place, "listener")
        try:
            service = Part("recovery service", [twinline, "recover", "--journal", published, "--listen", "127.0.0.1:0"])
            parts.append(service)
            address = service.wait_ready()
            listener = Part(
                "listener",
                [twinline, "listen", *LINES, "--journal", heard, "--recovery", address, "--until-end", "--sync", "none"],
            )
            parts.append(listener)
            listener.wait_ready()
            generate = ["--generate", str(messages), "--pace", "max", "--sync", "none"]
            publisher = Part("publisher", [twinline, "publish", *LINES, "--journal", published, *generate])
            parts.append(publisher)

            deadline = time.monotonic() + PATIENCE
            while any([part.look() for part in (publisher, listener)]):
                service.look()
                if time.monotonic() > deadline:
                    sys.exit(f"not done after {PATIENCE} s")
                time.sleep(0.05)
            said = publisher.summary()
            got = listener.summary()
            service.process.terminate()
            service.summary()
        finally:
            for part in parts:
                if part.process.poll() is None:
                    part.process.kill()
                    part.process.wait()
        for part in parts:
            print(f"{part.name}: at most {part.peak / 1024:.1f} MiB of anonymous memory")
        print(
            f"{said['source']['messages']} source messages, {got['messages']} delivered "
            f"({got['delivered']['recovery']} from recovery) in {got['elapsed_ns'] / 1e9:.1f} s"
        )
        if said["source"]["messages"] != messages or got["messages"] != said["messages"]:
            sys.exit("not everything arrived")
        large = [part.name for part in parts if not 0 < part.peak < LIMIT_KIB]
        if large:
            sys.exit(f"not under {LIMIT_KIB // 1024} MiB: {', '.join(large)}")


if __name__ == "__main__":
    main()
