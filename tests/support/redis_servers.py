"""Real Redis servers in every form: alone, with TLS and users, as a cluster, with a replica and a sentinel. And a relay.

Each server runs on a free port in a folder of its own and is ended by its process id. A relay stands between a client and
a server and can hold or delay what passes: what a switch, a firewall or a busy link does.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import redis

from tests.support.patience import until_now
from tests.support.ports import free_port
from tests.support.programs import program

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

SLOTS = 16384
PATIENT_MS = 60_000  # that a node of a cluster may be silent


class Redis:
    """One server without persistence. `options` are those of redis.conf; underscores stand for dashes.

    `command` starts another than redis-server.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sentinel: bool = False,
        port: int = 0,
        command: Sequence[str] = (),
        **options: object,
    ) -> None:
        self.port = port or free_port()
        self.folder = folder / f"redis-{self.port}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sentinel = sentinel
        self._command = command
        self._options = {"port": self.port, "bind": "127.0.0.1", "dir": str(self.folder), **options}
        if not sentinel:
            self._options = {"save": "", "appendonly": "no", **self._options}
        self._process: subprocess.Popen[bytes] | None = None
        self._client: dict[str, Any] = {"socket_timeout": 5, "protocol": 2}
        if "requirepass" in options:
            self.log_in(password=str(options["requirepass"]))

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def tls_port(self) -> int:
        port = self._options["tls_port"]
        assert isinstance(port, int)
        return port

    def start(self) -> Redis:
        config = self.folder / "redis.conf"
        lines = []
        for name, value in self._options.items():
            values = value if isinstance(value, list) else [value]
            lines += [f"{name.replace('_', '-')} {each if each != '' else chr(34) * 2}" for each in values]
        config.write_text("\n".join(lines) + "\n")
        command = [
            *(self._command or [program("redis-server")]),
            str(config),
            *(["--sentinel"] if self._sentinel else []),
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until_now(self._answers, f"redis-server {self.folder.name} answers")
        return self

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def ask(self, *words: object) -> Any:
        """The reply to one command, on a connection of its own."""
        with self.client() as client:
            return client.execute_command(*words)

    def client(self, **options: Any) -> redis.Redis:
        return redis.Redis(port=self.port, **(self._client | options))

    def log_in(self, **client: Any) -> Self:
        """How `ask` connects, where that is not as anybody."""
        self._client |= client
        return self

    def keys(self) -> list[bytes]:
        """Of buckets."""
        return [key for key in self.ask("KEYS", "weir:*") if not key.endswith(b":replicas")]

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
        try:
            self.ask("PING")
        except redis.exceptions.ResponseError:
            return True  # it wants a password, and says so
        except (redis.exceptions.RedisError, OSError):
            return False
        return True

    def _signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        self._signal(signal.SIGCONT)
        self._signal(number)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._process = None


@contextmanager
def running(*servers: Redis) -> Iterator[None]:
    try:
        for server in servers:
            server.start()
        yield
    finally:
        for server in servers:
            server.stop()


def tls_options(cert: Path, key: Path, ca: Path) -> dict[str, object]:
    """Of a server that speaks TLS on a second port and wants no certificate of clients."""
    return {"tls_cert_file": cert, "tls_key_file": key, "tls_ca_cert_file": ca, "tls_auth_clients": "no"}


@contextmanager
def cluster(
    folder: Path,
    primaries: int = 3,
    replicas: int = 0,
    tls: dict[str, object] | None = None,
    command: Sequence[str] = (),
    **more: object,
) -> Iterator[list[Redis]]:
    """Primaries that share the slots evenly, then their replicas, one each. `tls`: as `tls_options` has it."""
    options = {"cluster_enabled": "yes", "cluster_node_timeout": 1000, "cluster_require_full_coverage": "no",
               "cluster_replica_validity_factor": 0, **more}  # fmt: skip
    ports = []
    while len(ports) < primaries + replicas:
        ports.append(free_port())
    if tls is not None:
        options |= {**tls, "tls_cluster": "yes"}
    nodes = [Redis(folder, port=port, command=command, cluster_port=free_port(), **options) for port in ports]
    for node in nodes if tls is not None else []:
        node._options["tls_port"] = free_port()
    with running(*nodes):
        for number, node in enumerate(nodes[:primaries]):
            first, last = SLOTS * number // primaries, SLOTS * (number + 1) // primaries - 1
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, last)
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in nodes[1:]:
            port = nodes[0].port if tls is None else nodes[0].tls_port
            node.ask("CLUSTER", "MEET", "127.0.0.1", port, nodes[0]._options["cluster_port"])
        until_now(lambda: all(_knows(node, len(nodes)) for node in nodes), "the cluster has met")
        for number, node in enumerate(nodes[primaries:]):
            node.ask("CLUSTER", "REPLICATE", nodes[number].ask("CLUSTER", "MYID").decode())
        until_now(lambda: all(_is_whole(node, primaries) for node in nodes), "the cluster is whole")
        if not replicas:  # nobody takes over, so nobody need be given up: a busy machine delays their pings
            for node in nodes:
                node.ask("CONFIG", "SET", "cluster-node-timeout", PATIENT_MS)
        yield nodes


def _knows(node: Redis, count: int) -> bool:
    return len(node.ask("CLUSTER", "NODES").splitlines()) == count


def _is_whole(node: Redis, primaries: int) -> bool:
    """It would serve, and it has heard of every slot."""
    info = node.ask("CLUSTER", "INFO")
    ranges = node.ask("CLUSTER", "SLOTS")
    covered = sum(last - first + 1 for first, last, *_ in ranges)
    return b"cluster_state:ok" in info and len(ranges) == primaries and covered == SLOTS


@contextmanager
def watched(
    folder: Path,
    tls: dict[str, object] | None = None,
    of_sentinel: dict[str, object] | None = None,
    host: str = "127.0.0.1",
    command: Sequence[str] = (),
    **options: object,
) -> Iterator[tuple[Redis, Redis, Redis]]:
    """A master, its replica and a sentinel that watches the group `mymaster`. `tls`: as `tls_options` has it.

    They know each other by `host`.
    """
    safe = [{**tls, "tls_replication": "yes", "tls_port": free_port()} if tls else {} for _ in range(3)]
    options |= {"repl_diskless_sync_delay": 0}
    master = Redis(folder, command=command, replica_announce_ip=host, **options, **safe[0])
    port = master.tls_port if tls else master.port
    replica = Redis(
        folder, command=command, replicaof=f"{host} {port}", replica_announce_ip=host, **options, **safe[1]
    )
    sentinel = Redis(
        folder,
        sentinel=True,
        command=command,
        sentinel_resolve_hostnames="yes",
        sentinel_announce_hostnames="yes",
        sentinel_monitor=f"mymaster {host} {port} 1",
        **safe[2],
        **(of_sentinel or {}),
        sentinel_down_after_milliseconds="mymaster 500",
        sentinel_failover_timeout="mymaster 2000",
    )
    sentinel._options = {
        (name.replace("sentinel_", "sentinel ", 1)): value for name, value in sentinel._options.items()
    }
    with running(master, replica):
        until_now(
            lambda: replica.client().info("replication")["master_link_status"] == "up", "the replica follows"
        )
        with running(sentinel):  # later, since it looks for replicas at once, and then only after 10 s
            known = lambda: sentinel.ask("SENTINEL", "REPLICAS", "mymaster")  # noqa: E731 - short
            until_now(known, "the sentinel knows the replica")
            yield master, replica, sentinel


class Relay:
    """Passes bytes between clients and a server; `hold` keeps them, `delay` passes them later.

    `is_mute` loses what the server says, and `cut` ends all connections: what was asked is done, and nobody is told.
    With `lie` set, the server's words are replaced by its own, again and again as long as it yields some.
    With a `context` its clients speak TLS.
    """

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self._context = context
        self.delay = 0.0  # seconds, each way
        self.is_mute = False
        self.lost_bytes = 0
        self.lie: Callable[[bytes], Iterable[bytes]] | None = None
        self.lies = 0  # told
        self._target = port
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> Relay:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", free_port(), ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    @property
    def url(self) -> str:
        return f"{'redis' if self._context is None else 'rediss'}://127.0.0.1:{self.port}"

    def hold(self) -> None:
        """A black hole: nothing comes back, nothing is refused. What is sent waits in the dark."""
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def cut(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        writers = [writer]
        try:
            await self._open.wait()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            writers.append(far_writer)
            await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer, says=True))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            for each in writers:
                each.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, says: bool = False
    ) -> None:
        """In order, each piece `delay` after it came. `says`: from the server."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def send() -> None:
            while True:
                due, data = await pieces.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                await self._open.wait()
                if writer.is_closing():
                    return
                if not data:
                    writer.close()
                    return
                writer.write(data)

        sending = asyncio.create_task(send())
        try:
            while data := await reader.read(65536):
                if says and self.is_mute:
                    self.lost_bytes += len(data)
                    continue
                if says and self.lie is not None:
                    self.lies += 1
                    for piece in self.lie(data):
                        writer.write(piece)
                        await writer.drain()
                        await asyncio.sleep(0)
                    continue
                pieces.put_nowait((loop.time() + self.delay, data))
            pieces.put_nowait((loop.time() + self.delay, b""))
            await sending
        finally:
            sending.cancel()
