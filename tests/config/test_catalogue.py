"""The settings as a list."""

from proxy.config import catalogue
from proxy.config.catalogue import entries


def test_each_setting_has_help_of_one_sentence_or_two():
    for entry in entries():
        assert entry.help.endswith("."), entry.path
        assert len(entry.help) <= 140, entry.path
        assert "|" not in entry.help, entry.path


def test_paths_are_unique_and_blocks_come_before_what_is_in_them():
    paths = [entry.path for entry in entries()]

    assert len(set(paths)) == len(paths)
    for number, path in enumerate(paths):
        above = path.rpartition(".")[0].removesuffix("[]")
        assert not above or above in paths[:number]


def test_tree_holds_what_the_design_names():
    paths = {entry.path for entry in entries()}

    assert {
        "listen[].tls.client_ca",
        "limits[].exempt.cidrs",
        "errors.format.content_type",
        "store.key_secret",
    } <= paths


def test_what_waits_for_a_restart_is_named():
    waiting = [entry for entry in catalogue.entries() if entry.is_restart and not entry.is_block]

    assert tuple(entry.path for entry in waiting if "[]" not in entry.path) == (
        "listen",
        "admin.listen",
        "admin.probes",
        "workers",
        "store.prefix",
        "store.key_secret",
        "log.program",
        "log.access",
        "traces.otlp",
        "traces.sample",
        "traces.service",
        "traces.headers",
    )


def test_names_below_a_block_are_found_with_and_without_its_list():
    assert catalogue.names_below(("store",)) == (
        "url",
        "prefix",
        "tls",
        "sentinel",
        "timeout",
        "key_secret",
        "max_keys",
        "denial_cache",
    )
    assert catalogue.names_below(("limits", 3, "match")) == ("methods", "paths", "headers", "absent", "exact")
    assert catalogue.names_below(("listen", "tls")) == ("cert", "key", "certs", "client_ca", "min_version")
    assert "listen" in catalogue.names_below(())
