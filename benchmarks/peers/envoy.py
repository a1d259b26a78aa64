"""Envoy with its local limit: a token bucket for each value of the field, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import programs
from benchmarks.field import free_port

if TYPE_CHECKING:
    from benchmarks.field import Server
    from benchmarks.peers.task import Task

TYPE = "type.googleapis.com/envoy.extensions"


def start(task: Task) -> Server:
    place, port, rate = task.place, free_port(), task.rate
    config = place.folder / "envoy.yaml"
    bucket = f"{{max_tokens: {rate}, tokens_per_fill: {rate}, fill_interval: 1s}}"
    everything = "{default_value: {numerator: 100, denominator: HUNDRED}, runtime_key: all}"
    config.write_text(f"""
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {free_port()}}}}}}}
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          generate_request_id: true
          always_set_request_id_in_response: true
          use_remote_address: true
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": {TYPE}.access_loggers.file.v3.FileAccessLog
              path: {place.folder}/envoy.access.log
          http_filters:
          - name: envoy.filters.http.local_ratelimit
            typed_config:
              "@type": {TYPE}.filters.http.local_ratelimit.v3.LocalRateLimit
              stat_prefix: limit
              token_bucket: {{max_tokens: 100000000, tokens_per_fill: 100000000, fill_interval: 1s}}
              filter_enabled: {everything}
              filter_enforced: {everything}
              max_dynamic_descriptors: 100000
              descriptors:
              - entries: [{{key: user}}]
                token_bucket: {bucket}
              rate_limits:
              - actions:
                - request_headers: {{header_name: x-auth-token, descriptor_key: user}}
          - name: envoy.filters.http.router
            typed_config: {{"@type": {TYPE}.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: "/"}}, route: {{cluster: origin}}}}]
  clusters:
  - name: origin
    connect_timeout: 5s
    load_assignment:
      cluster_name: origin
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {task.origin.port}}}}}}}
""")
    command = [str(programs.envoy()), "-c", str(config), "--concurrency", "1", "--log-level", "error"]
    command += ["--disable-hot-restart"]
    return place.start("envoy", command, port, place.proxy_core)
