"""The watcher, on real files: what counts as a change and what does not."""

import asyncio
import itertools
import os
import shutil
import time
from contextlib import asynccontextmanager

import pytest

from proxy.config import watcher
from proxy.config.watcher import fingerprint, watch

PATIENCE = 10.0  # seconds until a change that is not seen is a failure


@pytest.fixture(autouse=True)
def settles_soon(monkeypatch):
    monkeypatch.setattr(watcher, "SETTLE_SECONDS", 0.02)


class Seen:
    """Changes that were told, and a way to wait for them."""

    def __init__(self):
        self.count = 0
        self.told = asyncio.Event()

    async def wait_for(self, count):
        async with asyncio.timeout(PATIENCE):
            while self.count < count:
                self.told.clear()
                await self.told.wait()


@asynccontextmanager
async def watching(path, **options):
    """Watches until the block ends, from the content at its beginning."""
    seen = Seen()
    options.setdefault("since", fingerprint(path))

    async def watch_on():
        async for _ in watch(path, **options):
            seen.count += 1
            seen.told.set()

    task = asyncio.create_task(watch_on())
    try:
        yield seen
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 2)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "weir.yaml"
    path.write_text("one")
    return path


async def test_write_in_place_is_told(file):
    async with watching(file, since="what was loaded", recheck=0.3) as seen:
        await seen.wait_for(1)
        file.write_text("two")
        await seen.wait_for(2)


async def noticed(seen, change):
    """Whether the system tells a change. The first one is seen without it; then the watch may need a moment to stand."""
    change(1)
    await seen.wait_for(1)
    for number in range(2, 22):
        change(number)
        try:
            await asyncio.wait_for(seen.wait_for(2), 0.5)
        except TimeoutError:
            continue
        return True
    return False


async def test_notice_comes_from_the_system_not_from_the_recheck(file):
    """With a recheck of ten minutes only inotify can tell."""
    async with watching(file, recheck=600) as seen:
        assert await noticed(seen, lambda number: file.write_text(f"version {number}"))


async def test_rename_over_is_told(file, tmp_path):
    """Most editors write a new file and rename it over the old one."""
    async with watching(file, recheck=0.3) as seen:
        for number in range(1, 4):
            new = tmp_path / f".weir.yaml.{number}"
            new.write_text(f"version {number}")
            new.replace(file)
            await seen.wait_for(number)


async def test_change_while_nobody_watched_is_told(file):
    """What was written between the load and the first look is not lost."""
    since = fingerprint(file)
    file.write_text("two")

    async with watching(file, since=since, recheck=600) as seen:
        await seen.wait_for(1)


async def test_delete_and_recreate_is_told_once(file):
    async with watching(file, recheck=0.1) as seen:
        await changed(file, seen)
        file.unlink()
        await rechecks()
        file.write_text("three")
        await seen.wait_for(2)
        await rechecks()

        assert seen.count == 2


async def changed(file, seen):
    """The watch stands once this change is told."""
    file.write_text("changed")
    await seen.wait_for(seen.count + 1)


async def rechecks(count=3):
    """Until the watcher has looked at the file this many times more."""
    looked = asyncio.Event()
    original, left = watcher._looks, count
    loop = asyncio.get_running_loop()

    def counting(path):
        nonlocal left
        left -= 1
        if left == 0:
            loop.call_soon_threadsafe(looked.set)
        return original(path)

    watcher._looks = counting
    try:
        await asyncio.wait_for(looked.wait(), PATIENCE)
    finally:
        watcher._looks = original


async def test_touch_and_equal_content_are_no_change(file, tmp_path):
    async with watching(file, recheck=0.1) as seen:
        await changed(file, seen)
        os.utime(file)
        await rechecks()
        file.write_text("changed")
        await rechecks()
        (tmp_path / "new").write_text("changed")
        (tmp_path / "new").replace(file)
        (tmp_path / "neighbour").write_text("x")
        await rechecks()

        assert seen.count == 1


@pytest.fixture
def config_map(tmp_path):
    """A volume as Kubernetes makes it: weir.yaml -> ..data/weir.yaml, ..data -> ..<time>."""
    volume = tmp_path / "etc"
    volume.mkdir()
    swap(volume, 1)
    (volume / "weir.yaml").symlink_to("..data/weir.yaml")
    return volume


def swap(volume, number):
    """What the kubelet does for a new version of the map, in its order."""
    old = os.readlink(volume / "..data") if (volume / "..data").is_symlink() else None
    folder = volume / f"..2026_{number}"
    folder.mkdir()
    (folder / "weir.yaml").write_text(f"version {number}")
    (volume / "..data_tmp").symlink_to(folder.name)
    (volume / "..data_tmp").replace(volume / "..data")
    if old:
        shutil.rmtree(volume / old)


async def test_swap_of_a_config_map_is_told_each_time(config_map):
    async with watching(config_map / "weir.yaml", recheck=0.3) as seen:
        for number in range(2, 6):
            swap(config_map, number)
            await seen.wait_for(number - 1)


async def test_swap_of_a_config_map_is_noticed_by_the_system(config_map):
    """The swap touches neither the file's name nor its old content; the folder's notice alone tells it."""
    async with watching(config_map / "weir.yaml", recheck=600) as seen:
        assert await noticed(seen, lambda number: swap(config_map, number + 1))


async def test_link_into_another_folder_is_followed(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    real = tmp_path / "b" / "real.yaml"
    real.write_text("one")
    (tmp_path / "a" / "weir.yaml").symlink_to(real)

    async with watching(tmp_path / "a" / "weir.yaml", recheck=600) as seen:
        assert await noticed(seen, lambda number: real.write_text(f"version {number}"))


async def test_folder_may_be_missing_for_a_moment(file, tmp_path):
    """Also a new folder of the same name, which the old watch knows nothing of."""
    folder = tmp_path / "etc"
    folder.mkdir()
    file = file.rename(folder / "weir.yaml")

    async with watching(file, recheck=0.1) as seen:
        await changed(file, seen)
        shutil.rmtree(folder)
        await rechecks()
        folder.mkdir()
        file.write_text("back")
        await seen.wait_for(2)
        file.write_text("and again")
        await seen.wait_for(3)


async def test_file_may_come_later(tmp_path):
    async with watching(tmp_path / "not" / "yet" / "weir.yaml", recheck=0.1) as seen:
        await rechecks()
        (tmp_path / "not" / "yet").mkdir(parents=True)
        (tmp_path / "not" / "yet" / "weir.yaml").write_text("here")
        await seen.wait_for(1)


async def test_half_written_file_is_not_told(file, monkeypatch):
    """An editor that truncates first and writes a little later is told once, whole."""
    monkeypatch.setattr(watcher, "SETTLE_SECONDS", 0.3)
    async with watching(file, recheck=0.05) as seen:
        await changed(file, seen)
        with file.open("w") as stream:
            stream.flush()
            await asyncio.sleep(0.1)  # the editor's own pace
            stream.write("whole")
        await seen.wait_for(2)
        await rechecks()

        assert seen.count == 2


@pytest.mark.waits("what is done in two seconds at rest")
async def test_watch_costs_next_to_nothing_at_rest(file):
    """No busy loop, also where the folder is missing."""
    missing = file.parent / "none" / "weir.yaml"
    async with watching(file) as seen, watching(missing):
        await asyncio.sleep(0.5)
        began = time.process_time()
        await asyncio.sleep(2)

        assert time.process_time() - began < 0.3
        assert seen.count == 0


async def test_system_without_watches_is_served_by_the_recheck(file, monkeypatch):
    """fs.inotify.max_user_instances is small on many hosts."""

    def none_left(*_, **__):
        raise OSError(24, "inotify limit reached")

    monkeypatch.setattr(watcher, "awatch", none_left)
    async with watching(file, recheck=0.05) as seen:
        await rechecks()
        file.write_text("two")
        await seen.wait_for(1)


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: os.mkfifo(path), lambda path: None])
def test_what_is_no_regular_file_has_no_fingerprint(tmp_path, make):
    """Opening a pipe would hang until somebody writes."""
    make(tmp_path / "x")

    assert fingerprint(tmp_path / "x") is None


async def test_large_file_is_read_only_when_it_looks_different(file, monkeypatch):
    """Its fingerprint takes long; what it looks like does not."""
    reads = []
    original = watcher.fingerprint

    def counted(*args):
        reads.append(args)
        return original(*args)

    monkeypatch.setattr(watcher, "fingerprint", counted)
    async with watching(file, recheck=0.05) as seen:
        await changed(file, seen)
        await rechecks(2)
        before = len(reads)
        await rechecks(5)

        assert len(reads) == before


async def test_change_behind_the_bound_is_none(file):
    async with watching(file, recheck=0.1, most=8) as seen:
        file.write_text("changed!!" + "x")
        await seen.wait_for(1)
        file.write_text("changed!!" + "y")
        await rechecks()

        assert seen.count == 1


async def test_file_that_is_needed_tells_that_it_is_gone(file):
    """And that it is back."""
    async with watching(file, recheck=0.1, is_needed=True) as seen:
        await changed(file, seen)
        file.unlink()
        await seen.wait_for(2)
        file.write_text("back")
        await seen.wait_for(3)


async def test_links_in_a_circle_are_no_file_until_one_is_mended(tmp_path):
    """Looking for where they lead comes to an end."""
    file, other = tmp_path / "weir.yaml", tmp_path / "other"
    file.symlink_to(other)
    other.symlink_to(file)
    async with watching(file, recheck=0.1) as seen:
        await rechecks()
        other.unlink()
        other.write_text("here")
        await seen.wait_for(1)


async def test_file_that_never_rests_is_told_as_it_is(file, monkeypatch):
    """Else a program that writes without a pause would keep every change from us."""
    monkeypatch.setattr(watcher, "SETTLE_SECONDS", 0.01)
    looks = itertools.count()
    original = watcher.fingerprint

    def written_before_each_look(*args):
        file.write_text(f"{next(looks)}")
        return original(*args)

    monkeypatch.setattr(watcher, "fingerprint", written_before_each_look)
    async with watching(file, recheck=0.05) as seen:
        await seen.wait_for(1)
