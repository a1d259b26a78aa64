"""python -m benchmarks.store [transport] [replicas] [keys]: what a check in Redis costs, and how exact it is.

transport   CPU of this process and of Redis for each check, by ways of asking; batches of 1, 4 and 16
replicas    four processes and one key offered far too much; then 2 000 keys at a third of their limit
keys        bytes a bucket, in Redis and in Weir, and that nothing is left when the buckets are full
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hiredis
import redis
import redis.asyncio as redis_py
import uvloop

from proxy.config.addresses import parse_store
from proxy.config.sections.limits import LimitSettings
from proxy.limiter.dialler import Dialler
from proxy.limiter.redis import RedisStore
from proxy.policy.decision import Charge
from proxy.policy.limits import Limits, compile_limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

PEER = (
    (Path(__file__).parent / "peers" / "token_bucket.lua").read_text().partition("[[")[2].partition("]]")[0]
)
USERS = 20_000
ROUNDS = {1: 6000, 4: 3000, 16: 1500}  # batches


def main() -> None:
    for name in sys.argv[1:] or ["transport", "replicas", "keys"]:
        print(f"\n{name}")
        with server() as port:
            uvloop.run({"transport": transport, "replicas": replicas, "keys": keys}[name](port))


@contextmanager
def server() -> Iterator[int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = ["redis-server", "--port", str(port), "--save", "", "--bind", "127.0.0.1", "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while not _answers(port):
                time.sleep(0.02)
            yield port
        finally:
            process.terminate()
            process.wait()


def _answers(port: int) -> bool:
    try:
        return bool(redis.Redis(port=port).ping())
    except redis.exceptions.RedisError:
        return False


def limits_of(rate: str) -> Limits:
    return compile_limits([LimitSettings(name="per-user", rate=rate, key=["const"])], b"")


def user(number: object) -> bytes:
    return blake2b(str(number).encode(), digest_size=16).digest()


async def started(port: int, limits: Limits, **options: Any) -> RedisStore:
    store = RedisStore(Dialler(parse_store(f"redis://127.0.0.1:{port}")), 0.5, **options)
    store.configure(limits)
    await store.start()
    return store


class Tick:
    """Some requests of one loop tick, and when all are decided."""

    def __init__(self) -> None:
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.admitted = 0
        self._left = 0

    def ask(self, store: RedisStore, requests: list[list[Charge]]) -> asyncio.Future[int]:
        self._left = len(requests)
        for charges in requests:
            decision = store.take(charges, self)
            if decision is not None:
                self.decided(decision)
        return self.done

    def decided(self, decision: Any) -> None:
        self.admitted += decision.is_admitted
        self._left -= 1
        if not self._left:
            self.done.set_result(self.admitted)


# --- transport ---


class Bare(asyncio.Protocol):
    """The least that a loop and hiredis cost."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self._left = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def ask(self, data: bytes, replies: int) -> asyncio.Future[None]:
        self._left = replies
        self._transport.write(data)
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        return self._done

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while self._reader.gets() is not False:
            self._left -= 1
        if not self._left:
            self._done.set_result(None)


async def transport(port: int) -> None:
    limits = limits_of("15/s")
    (limit,) = limits
    store = await started(port, limits)
    client = redis_py.Redis(port=port)
    sha = await client.script_load(PEER)
    connection = redis_py.Connection(port=port, protocol=2)
    await connection.connect()
    raw = socket.create_connection(("127.0.0.1", port))
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    reader = hiredis.Reader()
    _, bare = await asyncio.get_running_loop().create_connection(Bare, "127.0.0.1", port)
    requests = [[Charge(limit.terms, user(number))] for number in range(USERS)]
    names = [f"limit:token-of-user-{number:08}" for number in range(USERS)]

    def batch(of: list[Any], number: int, size: int) -> list[Any]:
        first = number * size % (USERS - size)
        return of[first : first + size]

    def pack(number: int, size: int) -> bytes:
        return b"".join(
            hiredis.pack_command(("EVALSHA", sha, 1, name, 15, 15)) for name in batch(names, number, size)
        )

    async def by_socket(number: int, size: int) -> None:
        raw.sendall(pack(number, size))
        for _ in range(size):
            while reader.gets() is False:
                reader.feed(raw.recv(65536))

    async def by_protocol(number: int, size: int) -> None:
        await bare.ask(pack(number, size), size)

    async def by_commands(number: int, size: int) -> None:
        await asyncio.gather(*(client.evalsha(sha, 1, name, 15, 15) for name in batch(names, number, size)))

    async def by_pipeline(number: int, size: int) -> None:
        pipeline = client.pipeline(transaction=False)
        for name in batch(names, number, size):
            pipeline.evalsha(sha, 1, name, 15, 15)
        await pipeline.execute()

    async def by_connection(number: int, size: int) -> None:
        await connection.send_packed_command([pack(number, size)], check_health=False)
        for _ in range(size):
            await connection.read_response(disable_decoding=True)

    async def by_store(number: int, size: int) -> None:
        await Tick().ask(store, batch(requests, number, size))

    ways: dict[str, Callable[[int, int], Awaitable[None]]] = {
        "blocking socket and hiredis, an EVALSHA each": by_socket,
        "bare asyncio protocol and hiredis, the same": by_protocol,
        "redis-py evalsha(), each": by_commands,
        "redis-py pipeline of EVALSHA": by_pipeline,
        "packed EVALSHA on redis-py's connection": by_connection,
        "RedisStore: one EVALSHA, our protocol": by_store,
    }
    print(f"{'CPU us a check (process + Redis)':46}" + "".join(f"batch of {size:<11}" for size in ROUNDS))
    for name, way in ways.items():
        costs = [await _cost(port, way, size) for size in ROUNDS]
        print(f"{name:46}" + "".join(f"{own:6.1f} + {theirs:<9.1f} " for own, theirs in costs))
    await connection.disconnect()
    await client.aclose()
    await store.close()


async def _cost(port: int, way: Callable[[int, int], Awaitable[None]], size: int) -> tuple[float, float]:
    rounds = ROUNDS[size]
    await way(0, size)
    best = (1e9, 1e9)
    for _ in range(3):
        redis_before, own_before = _redis_cpu(port), time.process_time()
        for number in range(rounds):
            await way(number, size)
        own, theirs = time.process_time() - own_before, _redis_cpu(port) - redis_before
        best = min(best, (own / rounds / size * 1e6, theirs / rounds / size * 1e6))
    return best


def _redis_cpu(port: int) -> float:
    with redis.Redis(port=port) as client:
        cpu = client.info("cpu")
    return cpu["used_cpu_user"] + cpu["used_cpu_sys"]


# --- replicas ---


async def replicas(port: int) -> None:
    seconds, offered = 20, 400
    parts = await _in_processes(_greedy, port, seconds, offered)
    moments = sorted(moment - min(map(min, parts)) for part in parts for moment in part)
    windows = [(begin, begin + span) for span in (1, 2, 5, 10) for begin in range(seconds - span)]
    excess = max(
        sum(begin <= moment < end for moment in moments) - 15 * (end - begin) for begin, end in windows
    )
    print(f"one key offered {offered}/s in 4 processes for {seconds} s: {len(moments)} admitted,")
    print(f"{15 * seconds + 15} are right; in no window more than the rate and {excess}")
    counts = await _in_processes(_modest, port, 10, 5)
    admitted, refused = (sum(column) for column in zip(*counts, strict=True))
    print(f"2 000 keys at 5/s of 15/s in 4 processes: {admitted} admitted, {refused} refused")


async def _in_processes(work: Callable[..., Any], *arguments: int) -> list[Any]:
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        begin = time.time() + 2.0  # all start together
        result = pool.starmap_async(_run, [(work.__name__, begin, number, *arguments) for number in range(4)])
        return await asyncio.to_thread(result.get)


def _run(work: str, begin: float, number: int, *arguments: int) -> Any:
    return uvloop.run(globals()[work](begin, number, *arguments))


async def _greedy(begin: float, number: int, port: int, seconds: int, offered: int) -> list[float]:
    """When requests were admitted."""
    limits = limits_of("15/s")
    (limit,) = limits
    store = await started(port, limits)
    admitted = []
    await asyncio.sleep(begin - time.time() + number * 0.25 / offered)
    for turn in range(seconds * offered // 4):
        await asyncio.sleep(begin + turn * 4 / offered - time.time())
        if await Tick().ask(store, [[Charge(limit.terms, user("greedy"))]]):
            admitted.append(time.time())
    await store.close()
    return admitted


async def _modest(begin: float, number: int, port: int, seconds: int, per_second: int) -> tuple[int, int]:
    """Admitted and refused; each key is used by all processes in turn."""
    limits = limits_of("15/s")
    (limit,) = limits
    store = await started(port, limits)
    requests = [[Charge(limit.terms, user(key))] for key in range(2000)]
    answers: Counter[bool] = Counter()
    await asyncio.sleep(begin - time.time())
    turns = seconds * per_second * 10
    for turn in range(turns):
        await asyncio.sleep(begin + turn / per_second / 10 - time.time())
        mine = requests[(turn + number) % 4 + turn % 10 * 200 : turn % 10 * 200 + 200 : 4]
        admitted = await Tick().ask(store, mine)
        answers[True] += admitted
        answers[False] += len(mine) - admitted
    await store.close()
    return answers[True], answers[False]


# --- keys ---


async def keys(port: int) -> None:
    count = 200_000
    limits = limits_of("15/m")
    (limit,) = limits
    store = await started(port, limits, max_keys=count * 2)
    client = redis.Redis(port=port)
    before, own_before = client.info("memory")["used_memory"], _resident()
    for first in range(0, count, 500):
        await Tick().ask(store, [[Charge(limit.terms, user(number))] for number in range(first, first + 500)])
    used, own = client.info("memory")["used_memory"] - before, _resident() - own_before
    held = client.dbsize() - 1  # less the set of replicas
    print(f"{held} buckets: {used / held:.0f} bytes each in Redis, {own / held:.0f} in this process")
    await asyncio.sleep(8.0)  # until a token of 15/m is back, and Redis has had time to forget
    used = client.info("memory")["used_memory"] - before
    print(f"{client.dbsize() - 1} left after they were full, and {used} bytes")
    await store.close()


def _resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
