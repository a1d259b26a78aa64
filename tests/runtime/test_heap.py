from __future__ import annotations

import subprocess
import sys

import pytest

LONE = """
import gc, os, signal, sys, threading, time
from proxy.runtime.run import run

def look():
    while not gc.get_freeze_count():
        time.sleep(0.01)
    gc.collect()
    print("left to look through:", len(gc.get_objects()) < gc.get_freeze_count() / 10, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=look, daemon=True).start()
sys.exit(run(sys.argv[1]))
"""


@pytest.mark.real
def test_what_a_start_leaves_is_not_looked_through_again(tmp_path):
    """Else each full collection stops the worker for as long as that takes, some 30 ms."""
    config = tmp_path / "weir.yaml"
    config.write_text(
        "listen: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0}\nupstream: {servers: ['http://127.0.0.1:1']}\ndrain: {delay: 0s}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", LONE, str(config)], capture_output=True, text=True, timeout=30, check=False
    )

    assert "left to look through: True" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
