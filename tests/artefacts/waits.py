"""What every script here says and waits for: a line for what was seen, an end for what is broken, and no wait without
one."""

import time

# Nothing that must happen takes longer.
HANG = 120


def seen(text):
    print(f"ok  {text}", flush=True)


def fail(text):
    raise SystemExit(f"BROKEN  {text}")


def until(what, holds):
    """What `holds` gives as soon as it gives something."""
    deadline = time.monotonic() + HANG
    while time.monotonic() < deadline:
        value = holds()
        if value:
            return value
        time.sleep(0.05)
    return fail(f"{what} did not happen")
