"""A refused upload, as real programs see it: each of them reads the 429, however much of its file is still unsent."""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import ssl
import subprocess

import pytest

from tests.support.programs import program

SIZE = 12_000_000  # far more than what the kernel keeps of it

FETCH = """
const [url, size, how] = process.argv.slice(1);
let left = Number(size);
const piece = Buffer.alloc(65536, "x");
const stream = new ReadableStream({pull(c) { if (left <= 0) c.close(); else { c.enqueue(piece); left -= piece.length; } }});
const body = how === "stream" ? stream : Buffer.alloc(left, "x");
fetch(url, {method: "POST", body, duplex: "half"}).then(r => console.log(r.status), e => console.log(e.cause ?? e));
"""
CURL = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}"]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("uploads") / "large"
    path.write_bytes(b"x" * SIZE)
    return str(path)


def ran(*words, **variables):
    """What a program printed."""
    command = [program(words[0]), *words[1:]]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=os.environ | variables, check=False
    )
    return done.stdout + done.stderr


def by_python(url, file, ca):
    scheme, _, address = url.rstrip("/").partition("://")
    host, _, port = address.partition(":")
    connection: http.client.HTTPConnection
    if scheme == "https":
        context = ssl.create_default_context(cafile=ca)
        connection = http.client.HTTPSConnection(host, int(port), timeout=50, context=context)
    else:
        connection = http.client.HTTPConnection(host, int(port), timeout=50)
    try:
        connection.request("POST", "/", b"x" * SIZE)
        return str(connection.getresponse().status)
    finally:
        connection.close()


def by_wget(url, file, ca):
    said = ran(
        "wget", "-O", "/dev/null", "-S", "--tries=1", f"--ca-certificate={ca}", f"--post-file={file}", url
    )
    found = re.findall(r"^ *HTTP/1\.1 (\d+)", said, re.MULTILINE)
    return found[-1] if found else said


PROGRAMS = {
    "http.client": by_python,
    "wget": by_wget,
    "curl": lambda url, file, ca: ran(*CURL, "--cacert", ca, "--data-binary", f"@{file}", url),
    "curl without Expect": lambda url, file, ca: ran(
        *CURL, "-H", "Expect:", "--cacert", ca, "--data-binary", f"@{file}", url
    ),
    "curl, chunked": lambda url, file, ca: ran(
        *CURL,
        "-H",
        "Expect:",
        "-H",
        "Transfer-Encoding: chunked",
        "--cacert",
        ca,
        "--data-binary",
        f"@{file}",
        url,
    ),
    "curl, slowly": lambda url, file, ca: ran(
        *CURL, "-H", "Expect:", "--limit-rate", "12M", "--cacert", ca, "--data-binary", f"@{file}", url
    ),
    "node fetch": lambda url, file, ca: ran(
        "node", "-e", FETCH, url, str(SIZE), "whole", NODE_EXTRA_CA_CERTS=ca
    ).strip(),
    "node fetch, streamed": lambda url, file, ca: ran(
        "node", "-e", FETCH, url, str(SIZE), "stream", NODE_EXTRA_CA_CERTS=ca
    ).strip(),
}


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_program_sees_why_its_upload_was_refused(new_weir, start_origin, connect, papers, file, scheme):
    weir = new_weir(
        {"limits": [{"name": "none", "rate": "1/d", "burst": 1, "key": ["const"]}]},
        upstream=await start_origin(),
    )
    if scheme == "https":
        cert, key = papers.issue("DNS:localhost")
        tls = {"cert": str(cert), "key": str(key)}
        weir.write_config({"listen": [{"address": f"127.0.0.1:{weir.port}", "tls": tls}]})
    weir.start()
    url = f"{scheme}://localhost:{weir.port}/"
    first = await asyncio.to_thread(ran, *CURL, "--cacert", str(papers.ca), url)
    seen = {name: await asyncio.to_thread(by, url, file, str(papers.ca)) for name, by in PROGRAMS.items()}

    assert first == "200"
    assert seen == dict.fromkeys(PROGRAMS, "429")
