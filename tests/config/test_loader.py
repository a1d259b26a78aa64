"""Files to settings, and every mistake with its place: the messages are what people read, so they are held word by word."""

import json
import os
import re
import time
from operator import attrgetter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.catalogue import entries
from proxy.config.loader import ConfigError, Mistake, config_hash, load, loads
from proxy.config.sections.front import DownstreamSettings
from proxy.config.sections.limits import LimitSettings
from proxy.config.sections.section import Section
from proxy.config.sections.upstream import UpstreamSettings
from proxy.config.settings import Settings, restart_differences

SERVERS = 'upstream: {servers: ["http://a"]}'


def mistakes(text, environ=None):
    with pytest.raises(ConfigError) as caught:
        loads(text, "weir.yaml", environ or {})
    return [str(mistake) for mistake in caught.value.mistakes]


def good(text=""):
    return loads(f"{text}\n{SERVERS}\n", "weir.yaml", {})


# One row a mistake: the text that has it (without the upstream, which is added) and the line it gives.
MISTAKES = [
    # names
    ("lisen: x", "1:1: lisen: unknown setting; did you mean listen?"),
    ("rate-limit-fields: x", "1:1: rate-limit-fields: unknown setting; did you mean ratelimit_fields?"),
    ("Limits: []", "1:1: Limits: unknown setting; did you mean limits?"),
    ("store:\n  uri: memory", "2:3: store.uri: unknown setting; did you mean url?"),
    ("store:\n  level: info", "2:3: store.level: unknown setting here; there is log.level"),
    ("admin: {colour: red}", "1:9: admin.colour: unknown setting; known here: listen, token, probes, hosts"),
    ("admin: {token:red}", "1:9: admin.?: not a name; is a space missing after the colon?"),
    ("limits: [{name: a, rate: 1/s, rates: 2/s}]", "1:31: limits[0].rates: unknown setting; did you mean rate?"),
    ("limits: [{name: a, rate: 1/s, match: {path: [/]}}]", "1:39: limits[0].match.path: unknown setting; did you mean paths?"),
    ("drain: {delay: 1s, delay: 2s}", "1:20: drain.delay: is there twice, first in line 1"),
    # shapes
    ("- a", "1:1: must be a block of settings, not a list"),
    ("hello", "1:1: must be a block of settings, not text"),
    ("limits: {name: a}", "1:9: limits: must be a list, not a block of settings"),
    ("limits:", "1:8: limits: must be a list, not null; write [] for none"),
    ("limits: [a]", "1:10: limits[0]: must be a block of settings, not text"),
    ("store: memory", "1:8: store: must be a block of settings, not text"),
    ("upstream: {servers: http://a}", "1:21: upstream.servers: must be a list, not text; put [ ] around it"),
    ("upstream: {servers: []}", "1:21: upstream.servers: is empty; at least one is needed"),
    ("upstream: {host: preserve}", "1:1: upstream.servers: is required. The service's servers: http://host:port, https://host:port or http+unix:///path."),
    ("listen: []", "1:9: listen: is empty; at least one is needed"),
    ("limits: [{rate: 1/s}]", "1:10: limits[0].name: is required. Its name in headers, metrics and logs; unique."),
    ("limits: [{name: 7, rate: 1/s}]", "1:17: limits[0].name: must be text, not a number; put it in quotes"),
    ("limits: [{name: true, rate: 1/s}]", "1:17: limits[0].name: must be text, not true or false; put it in quotes"),
    ("limits: [{name: a, rate: 1/s, match: {headers: }}]", "1:47: limits[0].match.headers: must be a block of names and values, not null; write {} for none"),
    ("limits: [{name: a, rate: 1/s, match: {methods: GET}}]", "1:48: limits[0].match.methods: must be a list, not text; put [ ] around it"),
    # traps of YAML 1.1
    ("contract: {edge_etags: yes}", "1:24: contract.edge_etags: must be true or false, not 'yes'"),
    ("contract: {edge_etags: on}", "1:24: contract.edge_etags: must be true or false, not 'on'"),
    ("limits: [{name: a, rate: 1/s, cost_304: 1}]", "1:41: limits[0].cost_304: must be at most 0, not 1"),
    ("limits: [{name: a, rate: 1/s, cost_304: false}]", "1:41: limits[0].cost_304: must be a whole number, not false"),
    ("limits: [{name: a, rate: 1/s, cost_304: []}]", "1:41: limits[0].cost_304: must be a whole number, not a list"),
    ("contract: {edge_etags: 1}", "1:24: contract.edge_etags: must be true or false, not 1"),
    ("downstream: {limits: {headers: 0100}}", "1:32: downstream.limits.headers: must be a whole number, not '0100'"),
    ("downstream: {limits: {headers: 1e2}}", "1:32: downstream.limits.headers: must be a whole number, not '1e2'"),
    ("downstream: {limits: {headers: 1_000}}", "1:32: downstream.limits.headers: must be a whole number, not '1_000'"),
    ("downstream: {timeouts: {idle: 15:30}}", "1:31: downstream.timeouts.idle: a span has one unit: write 930s for minutes and seconds, not 15:30"),
    ("listen: 15:30", "1:9: listen: the host looks like an IPv4 address but is none: four numbers from 0 to 255"),
    ("ratelimit_fields: false", "1:19: ratelimit_fields: must be draft10, legacy or off, not false; did you mean off?"),
    ("log: {access: false}", "1:15: log.access: must be stdout, off or the path of a file, not false; did you mean off?"),
    # values
    ("listen: 8080", "1:9: listen: needs a host: write 127.0.0.1:8080, or 0.0.0.0:8080 for every interface"),
    ("listen: [8080]", "1:10: listen[0]: needs a host: write 127.0.0.1:8080, or 0.0.0.0:8080 for every interface"),
    ("upstream: {servers: ['http://a', 'http://A:80/']}", "1:34: upstream.servers[1]: the server http://a is there twice"),
    ("limits:\n  - name: a\n    rate: 1/s\n\u00a0\u00a0\u00a0 burst: 2", "4:1: ?: not a name; \\xa0 stands there in place of a space"),
    ("listen: ['a:1', 'a:1']", "1:17: listen[1]: the address a:1 is there twice"),
    ("listen: {address: 'a:1', tls: {cert: a.pem}}", "1:26: listen.tls.key: is required with cert"),
    ("listen: {address: 'a:1', tls: {}}", "1:26: listen.tls.cert: is required, with key; or certs"),
    ("listen: {address: 'a:1', tls: {certs: [{cert: a.pem}]}}", "1:40: listen.tls.certs[0].key: is required. Path of its private key, PEM."),
    ("listen: [{address: 'a:1', tls: {cert: a.pem, key: ''}}]", "1:51: listen[0].tls.key: is empty"),
    ("listen: [{address: 'a:1', proxy_protocol: v2}]", "1:43: listen[0].proxy_protocol: must be true or false, not 'v2'"),
    ("listen: [{address: 'a:1', mode: decides}]", "1:33: listen[0].mode: must be forward or decide, not 'decides'; did you mean decide?"),
    ("listen: [{address: 'a:1', mode: decide, refuse_with: 418}]", "1:54: listen[0].refuse_with: must be 429 or 403, not 418"),
    ("listen: [{address: 'a:1', mode: decide, front: apache}]", "1:48: listen[0].front: must be auto, nginx, traefik, caddy, envoy, haproxy or itself, not 'apache'"),
    ("listen: [{address: 'a:1', mode: decide, on_bad_front: refuse}]", "1:55: listen[0].on_bad_front: must be deny or allow, not 'refuse'"),
    ("listen: [{address: 'a:1', refuse_with: 403}]", "1:40: listen[0].refuse_with: is for mode: decide"),
    ("listen: [{address: 'a:1', mode: decide, proxy_protocol: true}]", "1:57: listen[0].proxy_protocol: does not go with mode: decide: the proxies that ask speak for themselves"),
    ("workers: 2", "1:10: workers: 2 processes would each grant the whole of every limit, since store.url is memory: count in Redis, or leave it at 1"),
    ("workers: 0", "1:10: workers: must be 1 to 256, or auto, not 0"),
    ("drain: {timeout: 30}", "1:18: drain.timeout: 30 needs a unit: write 30ms, 30s, 30m or 30h"),
    ("downstream: {timeouts: {head: null}}", "1:31: downstream.timeouts.head: must be a span such as 250ms, 5s, 2m or 1h, not null"),
    ("downstream: {timeouts: {head: 0s}}", "1:31: downstream.timeouts.head: must be at least 1ms"),
    ("downstream: {limits: {body: 10MB}}", "1:29: downstream.limits.body: write 10MiB, not '10MB'"),
    ("downstream: {limits: {headers: 0}}", "1:32: downstream.limits.headers: must be at least 1, not 0"),
    ("limits: [{name: a, rate: 15}]", "1:26: limits[0].rate: 15 needs a period: write 15/s, 15/m, 15/h or 15/d"),
    ("limits: [{name: a, rate: 0/s}]", "1:26: limits[0].rate: 0/s would refuse every request; a rate is at least 1, such as 1/h"),
    ("limits: [{name: a b, rate: 1/s}]", "1:17: limits[0].name: a limit's name has 1 to 64 letters, digits, _ . or -, not 'a b'"),
    ("limits: [{name: a, rate: 1/s, mode: enforced}]", "1:37: limits[0].mode: must be enforce or shadow, not 'enforced'; did you mean enforce?"),
    ("limits: [{name: a, rate: 1/s, on_store_error: fail}]", "1:47: limits[0].on_store_error: must be local, allow or deny, not 'fail'"),
    ("limits: [{name: a, rate: 1/s, key: [header: X]}]", "1:37: limits[0].key[0]: write header:X without the space after the colon"),
    ("limits: [{name: a, rate: 1/s, key: user}]", "1:36: limits[0].key: must be header:NAME, cookie:NAME, jwt:CLAIM, query:NAME, path:N, host, method, client-ip or const, or some of them joined by +, not 'user'"),
    ("limits: [{name: a, rate: 1/s, key: []}]", "1:36: limits[0].key: is empty; at least one is needed"),
    ("limits: [{name: a, rate: 1/s, key: [const, const]}]", "1:44: limits[0].key[1]: the key const is there twice"),
    ("limits: [{name: a, rate: 1/s, key: [client-ip, 'cookie:a']}]", "1:48: limits[0].key[1]: is charged before client-ip, for who has nothing else: put that last"),
    ("limits: [{name: a, rate: 1/s, key: [host, client-ip]}]", "1:43: limits[0].key[1]: is never reached: host is always present"),
    ("limits: [{name: a, rate: 1/s, key: [client-ip, const]}]", "1:48: limits[0].key[1]: is never reached: client-ip is always present"),
    ("limits: [{name: a, rate: 1/s, key: ['header:X-A', 'header:x-a']}]", "1:51: limits[0].key[1]: the key header:x-a is there twice"),
    ("limits: [{name: a, rate: 1/s, key: ['path:x']}]", "1:37: limits[0].key[0]: path takes the number of a segment, 1 to 64: path:1, not 'x'"),
    ("forwarded: {ipv6_prefix: 129}", "1:26: forwarded.ipv6_prefix: must be at most 128, not 129"),
    ("forwarded: {ipv6_prefix: 64bits}", "1:26: forwarded.ipv6_prefix: must be a whole number, not '64bits'"),
    ("forwarded: {trust: ['unix:/run/a.sock']}", "1:21: forwarded.trust[0]: write unix: for all peers on Unix sockets: they have no address that tells them apart"),
    ("forwarded: {trust: [unix]}", "1:21: forwarded.trust[0]: must be a network such as 10.0.0.0/8 or 2001:db8::/32, not 'unix'"),
    ("cors: {origins: ['https://a/']}", "1:18: cors.origins[0]: an origin ends with its host or port: leave out the slash at the end"),
    ("cors: {origins: [app.example.com]}", "1:18: cors.origins[0]: must be an origin such as https://api.example.com"),
    ("cors: {origins: ['null']}", "1:18: cors.origins[0]: null is what pages without an origin send, whoever made them: it cannot be told apart"),
    ("cors: {origins: https://a}", "1:17: cors.origins: must be a list, not text; put [ ] around it"),
    ("limits: [{name: a, rate: 1/s, when_absent: ignore}]", "1:44: limits[0].when_absent: must be share or skip, not 'ignore'"),
    ("limits: [{name: a, rate: 1/s, match: {exact: 1}}]", "1:46: limits[0].match.exact: must be true or false, not 1"),
    ("limits: [{name: a, rate: 1/s, match: {absent: X-A}}]", "1:47: limits[0].match.absent: must be a list, not text; put [ ] around it"),
    ("limits: [{name: a, rate: 1/s, match: {absent: [X A]}}]", "1:48: limits[0].match.absent[0]: the name of a header holds letters, digits and !#$%&'*+-.^_`|~ only, not 'X A'"),
    ("limits: [{name: a, rate: 1/s, match: {absent: [X-A, x-a]}}]", "1:53: limits[0].match.absent[1]: the header x-a is there twice"),
    ("limits: [{name: a, rate: 1/s, match: {absent: [X-A], headers: {x-a: '*'}}}]", "1:48: limits[0].match.absent[0]: X-A is asked for in headers: no request has it and has it not"),
    ("limits: [{name: a, rate: 1/s, match: {absence: [X-A]}}]", "1:39: limits[0].match.absence: unknown setting; did you mean absent?"),
    ("limits: [{name: a, rate: 1/s, match: {headers: {'X Y': '*'}}}]", "1:49: limits[0].match.headers.?: the name of a header holds letters, digits and !#$%&'*+-.^_`|~ only, not 'X Y'"),
    ("limits: [{name: a, rate: 1/s, match: {headers: {X-A: '1', x-a: '2'}}}]", "1:48: limits[0].match.headers: names a header twice: case makes no difference"),
    ("limits: [{name: a, rate: 1/s, match: {methods: [get]}}]", "1:49: limits[0].match.methods[0]: 'get' is not a method; did you mean GET?"),
    ("limits: [{name: a, rate: 1/s, exempt: {paths: [api]}}]", "1:48: limits[0].exempt.paths[0]: a path begins with /: write '/api'"),
    ("limits: [{name: a, rate: 1/s, exempt: {cidrs: [10.1.1.1/8]}}]", "1:48: limits[0].exempt.cidrs[0]: 10.1.1.1/8 is an address within a network: write 10.0.0.0/8, or 10.1.1.1 for it alone"),
    ("limits: [{name: a, rate: 1/s, burst: 1.5}]", "1:38: limits[0].burst: must be a whole number, not '1.5'"),
    ("errors: {redact: [5xx]}", "1:19: errors.redact[0]: write 500-599, not '5xx'"),
    ("errors: {redact: 200}", "1:18: errors.redact: 200 holds statuses that are no errors: only 400 to 599 can be redacted"),
    ("errors: {format: json}", "1:18: errors.format: must be problem, not 'json'"),
    ("errors: {format: {content_type: json, body: x}}", "1:33: errors.format.content_type: must be a media type such as application/json, not 'json'"),
    ("errors: {format: {content_type: text/plain}}", "1:10: errors.format.body: is required. Their body, with {status}, {title}, {detail} and {request_id}, escaped for JSON strings."),
    ("errors: {format: {content_type: text/plain, body: '{tilte}'}}", "1:51: errors.format.body: {tilte} is not a placeholder; did you mean {title}?"),
    ("errors: {format: {content_type: application/json, body: '{title}'}}", "1:57: errors.format.body: does not become JSON once the placeholders are filled: expecting value at character 1"),
    ("contract: {rules: [{status: 99, body: any}]}", "1:29: contract.rules[0].status: must be a status or a range such as \"500\" or \"500-599\", not 99"),
    ("contract: {rules: [{status: 600, body: any}]}", "1:29: contract.rules[0].status: a status lies between 100 and 599, 600 does not"),
    ("contract: {rules: [{status: 500-400, body: any}]}", "1:29: contract.rules[0].status: the range is upside down: write 400-500"),
    ("contract: {rules: [{status: 100-299, body: any}]}", "1:29: contract.rules[0].status: 100-299 holds interim answers, which are never judged: 200 to 599 are"),
    ("contract: {rules: [{body: any}]}", "1:20: contract.rules[0].status: is required. A status, or a range such as 200-299, of which no other entry speaks."),
    ("contract: {rules: [{status: 201}]}", "1:20: contract.rules[0]: says nothing of 201: name headers, media_types or body"),
    ("contract: {rules: [{}]}", "1:20: contract.rules[0].status: is required. A status, or a range such as 200-299, of which no other entry speaks."),
    ("contract: {rules: [{status: 201, body: any}, {status: 201, headers: []}]}", "1:55: contract.rules[1].status: 201 is in the entry for 201 already"),
    ("contract: {rules: [{status: 201, body: any}, {status: 200-299, headers: []}]}", "1:55: contract.rules[1].status: 201 is in the entry for 201 already"),
    ("contract: {rules: [{status: 200, media_types: [json]}]}", "1:48: contract.rules[0].media_types[0]: must be a media type such as application/json, not 'json'"),
    ("contract: {rules: [{status: 200, media_types: [a/b;q=1]}]}", "1:48: contract.rules[0].media_types[0]: parameters are not compared: write a/b"),
    ("contract: {rules: [{status: 200, media_types: [a/*b*]}]}", "1:48: contract.rules[0].media_types[0]: at most one * on each side of the slash, not 'a/*b*'"),
    ("contract: {rules: [{status: 200, media_types: [a/b, A/b]}]}", "1:53: contract.rules[0].media_types[1]: A/b is there twice: case makes no difference"),
    ("contract: {rules: [{status: 200, body: non}]}", "1:40: contract.rules[0].body: must be required, none or any, not 'non'; did you mean none?"),
    ("contract: {rules: [{status: 200, body: none, media_types: [a/b]}]}", "1:59: contract.rules[0].media_types: have nothing to match where body is none"),
    ("contract: {rules: [{status: 204, body: required}]}", "1:20: contract.rules[0]: a 204 never has a body (RFC 9110): only headers can be asked for"),
    ("contract: {rules: [{status: 200, headers: [a b]}]}", "1:44: contract.rules[0].headers[0]: the name of a header holds letters, digits and !#$%&'*+-.^_`|~ only, not 'a b'"),
    ("contract: {rules: [{status: 200, headers: [ETag, etag]}]}", "1:50: contract.rules[0].headers[1]: etag is there twice: case makes no difference"),
    ("contract: {rules: [{status: 200, headers: [" + ", ".join(f"a{n}" for n in range(17)) + "]}]}", "1:43: contract.rules[0].headers: holds 17 entries, at most 16 are possible"),
    ("contract: {public_url: https://a/b}", "1:24: contract.public_url: an origin ends with its host or port: paths pass as the client sent them"),
    ("contract: {allow_methods: [TRACE]}", "1:28: contract.allow_methods[0]: TRACE is never forwarded: leave it out"),
    ("log: {level: warn}", "1:14: log.level: must be debug, info, warning or error, not 'warn'; did you mean warning?"),
    ("traces: {otlp: collector}", "1:16: traces.otlp: must be the URL of a collector such as http://collector:4318"),
    ("traces: {otlp: 'ftp://a:4318'}", "1:16: traces.otlp: must be an origin such as https://api.example.com"),
    ("traces: {sample: 0.5}", "1:18: traces.sample: must be a share such as 100%, 1% or 0.5%, not '0.5'"),
    ("traces: {service: ''}", "1:19: traces.service: is empty"),
    ("log: {sample: 10}", "1:15: log.sample: 10 needs a percent sign: write 10%"),
    ("log: {sample: 101%}", "1:15: log.sample: must be a share such as 100%, 1% or 0.5%, not '101%'"),
    ("log: {sample: -1%}", "1:15: log.sample: must be a share such as 100%, 1% or 0.5%, not '-1%'"),
    ("log: {slow: 0s}", "1:13: log.slow: must be at least 1ms"),
    ("log: {format: apache}", "1:15: log.format: must be json, ecs, text, common or combined, not 'apache'"),
    ("log: {fields: [cookie]}", "1:16: log.fields[0]: must be user_agent, referer, host or trace_id, not 'cookie'"),
    ("log: {program: xml}", "1:16: log.program: must be auto, json or text, not 'xml'"),
    ("log: {access: access.log}", "1:15: log.access: must be stdout, off or the path of a file, not 'access.log'; a file is written with its folder: './access.log'"),
    ("store: {prefix: ''}", "1:17: store.prefix: has 1 to 64 letters, digits, _ . or -, such as orders-api, not ''"),
    ("store: {prefix: 'a:b'}", "1:17: store.prefix: has 1 to 64 letters, digits, _ . or -, such as orders-api, not 'a:b'"),
    ("store: {prefix: '{a}'}", "1:17: store.prefix: has 1 to 64 letters, digits, _ . or -, such as orders-api, not '{a}'"),
    ("store: {prefix: 'a*'}", "1:17: store.prefix: has 1 to 64 letters, digits, _ . or -, such as orders-api, not 'a*'"),
    ("store: {prefix: [weir]}", "1:17: store.prefix: must be text, not a list"),
    ("store: {max_keys: 0}", "1:19: store.max_keys: must be at least 1, not 0"),
    # what does not fit together
    ("store: {url: 'rediss://h', tls: {cert: a.pem}}", "1:28: store.tls.key: is required with cert"),
    ("store: {url: 'rediss://h', tls: {key: a.pem}}", "1:28: store.tls.cert: is required with key"),
    ("store: {url: 'redis://h', tls: {ca: a.pem}}", "1:32: store.tls: is used with rediss:// and its kin only, and store.url is none"),
    ("store: {url: 'redis://h', sentinel: {password: p}}", "1:37: store.sentinel: is used with redis+sentinel:// only, and store.url is none"),
    ("store: {url: 'redis+sentinel://h/m', sentinel: {username: u}}", "1:38: store.sentinel.password: is required with username"),
    ("limits: [{name: a, rate: 1/s, cost: 2}]", "1:37: limits[0].cost: 2 is above the burst of 1: no request would ever pass"),
    ("limits: [{name: a, rate: 9/s, cost: 2, lease: 5}]", "1:47: limits[0].lease: 5 requests take more than the burst of 9: never granted"),
    ("limits: [{name: a, rate: 9/s, cost: []}]", "1:37: limits[0].cost: is empty; at least one is needed"),
    ("limits: [{name: a, rate: 9/s, cost: all}]", "1:37: limits[0].cost: must be a whole number, not 'all'"),
    ("limits: [{name: a, rate: 9/s, cost: {cost: 2}}]", "1:37: limits[0].cost: must be a whole number, not a block of settings"),
    ("limits: [{name: a, rate: 9/s, cost: [{match: {method: [GET]}, cost: 2}]}]", "1:47: limits[0].cost[0].match.method: unknown setting; did you mean methods?"),
    ("limits: [{name: a, rate: 9/s, cost: [{match: {paths: [/a]}}]}]", "1:38: limits[0].cost[0].cost: is required. Tokens that each of them takes."),
    ("limits: [{name: a, rate: 9/s, cost: [{match: {paths: [/a]}, cost: 10}]}]", "1:67: limits[0].cost[0].cost: 10 is above the burst of 9: no such request would ever pass"),
    ("limits: [{name: a, rate: 9/s, cost: [{cost: 2}, {cost: 1}]}]", "1:49: limits[0].cost[1]: is never reached: the entry before it matches every request"),
    ("limits: [{name: a}]", "1:10: limits[0].rate: is required: how many requests may come in a time, such as 15/s; or concurrency"),
    ("limits: [{name: a, concurrency: 0}]", "1:33: limits[0].concurrency: must be at least 1, not 0"),
    ("limits: [{name: a, concurrency: 20/s}]", "1:33: limits[0].concurrency: must be a whole number, not '20/s'"),
    ("limits: [{name: a, rate: 1/s, concurency: 20}]", "1:31: limits[0].concurency: unknown setting; did you mean concurrency?"),
    ("limits: [{name: a, concurrency: 2, rate: 5/s}]", "1:42: limits[0].rate: does not go with concurrency: a limit counts the requests of a time or those under way; write two limits for both"),
    ("limits: [{name: a, concurrency: 2, burst: 5}]", "1:43: limits[0].burst: does not go with concurrency: that is part of a rate; concurrency itself says how many there may be at once"),
    ("limits: [{name: a, concurrency: 2, cost: 5}]", "1:42: limits[0].cost: does not go with concurrency: each request under way holds one slot"),
    ("limits: [{name: a, concurrency: 2, max_wait: 1s}]", "1:46: limits[0].max_wait: does not go with concurrency: nobody knows when a slot comes back, so nothing can wait for it"),
    ("limits: [{name: a, concurrency: 2, plans: [b]}]\nplans: [{name: b, rate: 9/s}]", "1:43: limits[0].plans: does not go with concurrency: they name rates; write a limit of its own for clients that may do more at once"),
    ("limits: [{name: a, concurrency: 2, lease: 3}]", "1:43: limits[0].lease: does not go with concurrency: slots are taken and given back one by one"),
    ("limits: [{name: a, concurrency: 2, cost_304: 0}]", "1:46: limits[0].cost_304: does not go with concurrency: a slot comes back when its request ends, whatever was answered"),
    ("limits: [{name: a, concurrency: 2, on_upstream_429: drain}]", "1:53: limits[0].on_upstream_429: does not go with concurrency: there are no tokens to take away"),
    ("limits: [{name: a, concurrency: 2, on_upstream_401: address}]", "1:53: limits[0].on_upstream_401: does not go with concurrency: there are no tokens to move"),
    ("limits: [{name: a, concurrency: 2, unproven: {rate: 9/s}}]", "1:46: limits[0].unproven: does not go with concurrency: it is a rate; write a limit by client-ip for those who are new"),
    ("limits: [{name: a, rate: 1/s, max_wait: 2}]", "1:41: limits[0].max_wait: 2 needs a unit: write 2ms, 2s, 2m or 2h"),
    ("limits: [{name: a, rate: 1/s, max_wait: 2m}]", "1:41: limits[0].max_wait: 2m is more than the 1m that is possible"),
    ("limits: [{name: a, rate: 1/s, max_wiat: 2s}]", "1:31: limits[0].max_wiat: unknown setting; did you mean max_wait?"),
    ("limits: [{name: a, rate: 1/s, enforce: 25}]", "1:40: limits[0].enforce: 25 needs a percent sign: write 25%"),
    ("limits: [{name: a, rate: 1/s, enforce: 101%}]", "1:40: limits[0].enforce: must be a share such as 100%, 1% or 0.5%, not '101%'"),
    ("limits: [{name: a, rate: 1/s, plans: big}]", "1:38: limits[0].plans: must be a list, not text; put [ ] around it"),
    ("limits: [{name: a, rate: 1/s, plans: [bigg]}]\nplans: [{name: big, rate: 9/s}]", "1:39: limits[0].plans[0]: there is no plan 'bigg'; did you mean big?"),
    ("limits: [{name: a, rate: 1/s, plans: [x]}]", "1:39: limits[0].plans[0]: there is no plan 'x'; plans stand in the list `plans` beside `limits`"),
    ("limits: [{name: a, rate: 1/s, plans: [big, big]}]\nplans: [{name: big, rate: 9/s}]", "1:44: limits[0].plans[1]: the plan big is there twice"),
    ("limits: [{name: a, rate: 9/s, cost: 3, plans: [low]}]\nplans: [{name: low, rate: 2/s}]", "2:9: plans[0].burst: 2 is below the cost of 3 in the limit a: no such request would ever pass"),
    ("limits: [{name: a, rate: 9/s, plans: [odd]}]\nplans: [{name: odd, rate: 999983/d}]", "2:27: plans[0].rate: 999983/d with a burst of 999983 cannot be counted exactly: use a rounder rate"),
    ("plans: [{name: a, rate: 9/s}, {name: a, rate: 8/s}]", "1:38: plans[1].name: the name a is there twice"),
    ("limits: [{name: a, rate: 9/s, unproven: 60/s}]", "1:41: limits[0].unproven: must be a block of settings, not text"),
    ("limits: [{name: a, rate: 9/s, unproven: {burst: 9}}]", "1:31: limits[0].unproven.rate: is required. Requests in a second, minute, hour or day: 60/s, 90/m, 1000/h, 5000/d."),
    ("limits: [{name: a, rate: 9/s, unproven: {rate: 60}}]", "1:48: limits[0].unproven.rate: 60 needs a period: write 60/s, 60/m, 60/h or 60/d"),
    ("limits: [{name: a, rate: 9/s, cost: 5, unproven: {rate: 4/s}}]", "1:40: limits[0].unproven.burst: 4 is below the cost of 5: nobody who is new would ever pass"),
    ("limits: [{name: a, rate: 9/s, unproven: {rate: 999983/d}}]", "1:48: limits[0].unproven.rate: 999983/d with a burst of 999983 cannot be counted exactly: use a rounder rate"),
    ("limits: [{name: a, rate: 9/s, key: client-ip, unproven: {rate: 4/s}}]", "1:57: limits[0].unproven: has nothing to prove: no entry of key is a credential"),
    ("limits: [{name: a, rate: 9/s, on_upstream_401: drain}]", "1:48: limits[0].on_upstream_401: must be keep or address, not 'drain'"),
    ("plans: [{name: a b, rate: 9/s}]", "1:16: plans[0].name: a plan's name has 1 to 64 letters, digits, _ . or -, not 'a b'"),
    ("plans: [{name: a}]", "1:9: plans[0].rate: is required. Requests in a second, minute, hour or day: 30/s, 90/m, 1000/h, 5000/d."),
    ("plans: [{name: a, rate: 9/s, keys: [s3cret]}]", "1:37: plans[0].keys[0]: must be sha256: and 64 hex digits, as `weir hash` prints them for a credential"),
    (f"plans: [{{name: a, rate: 9/s, keys: ['sha256:{'0' * 64}', 'sha256:{'0' * 64}']}}]", "1:112: plans[0].keys[1]: is there twice"),
    ("plans: [{name: a, rate: 9/s, keys_file: no-such-file}]", "1:41: plans[0].keys_file: no-such-file: no such file"),
    ("limits: [{name: a, rate: 999983/d}]", "1:26: limits[0].rate: 999983/d with a burst of 999983 cannot be counted exactly: use a rounder rate"),
    ("limits: [{name: a, rate: 1/s}, {name: a, rate: 2/s}]", "1:39: limits[1].name: the name a is there twice"),
    ("limits: [" + ", ".join(f"{{name: l{n}, rate: 1/s}}" for n in range(33)) + "]", "1:9: limits: one request may meet 33 of these limits, such as l0, l1, l2, and 32 are possible: tell their `match` further apart"),
    ("admin: {listen: 0.0.0.0:9901}", "1:1: admin.token: is required, since 0.0.0.0:9901 can be reached from other machines"),
    ("admin: {listen: 0.0.0.0:8080, token: t}", "1:17: admin.listen: 0.0.0.0:8080 is taken by listen"),
    ("admin: {probes: 0.0.0.0:8080}", "1:17: admin.probes: 0.0.0.0:8080 is taken by listen"),
    ("admin: {probes: 127.0.0.1:9901}", "1:17: admin.probes: 127.0.0.1:9901 is taken by admin.listen"),
    ("admin: {hosts: ['http://weir.example.com']}", "1:17: admin.hosts[0]: must be a name or an IP address, without a port"),
    ("admin: {hosts: [weir.example.com:9901]}", "1:17: admin.hosts[0]: must be a name or an IP address, without a port"),
    ("admin: {probes: 9902}", "1:17: admin.probes: needs a host: write 127.0.0.1:9902, or 0.0.0.0:9902 for every interface"),
    ("admin: {probes: true}", "1:17: admin.probes: must be an address such as 127.0.0.1:8080, not true"),
    ("admin: {probes: [a]}", "1:17: admin.probes: must be an address such as 127.0.0.1:8080, not a list"),
    ("admin: {probes: 0.0.0.0}", "1:17: admin.probes: needs a port: write 0.0.0.0:8080"),
    ("admin: {probes: a:65536}", "1:17: admin.probes: the port must be a whole number from 0 to 65535"),
    ("downstream: {limits: {request_line: 64KiB}}", "1:37: downstream.limits.request_line: 64KiB is above head, 32KiB, of which it is a part"),
    ("upstream: {servers: ['http://a'], timeouts: {idle: 2h}}", "1:52: upstream.timeouts.idle: 2h is longer than networks keep silent connections: at most 1h"),
    ("downstream: {timeouts: {idle: 61m}}", "1:31: downstream.timeouts.idle: 61m is longer than networks keep silent connections: at most 1h"),
    ("store: {timeout: 3m}", "1:18: store.timeout: 3m is not below upstream.timeouts.response, 140s: a decision must cost less than the answer"),
    ("upstream: {servers: ['http://a'], tls: {ca: a.pem}}", "1:40: upstream.tls: is used with https:// only, and no server's URL is one"),
    ("upstream: {servers: ['https://a'], tls: {cert: a.pem}}", "1:36: upstream.tls.key: is required with cert"),
    ("upstream: {servers: ['https://a'], tls: {server_name: 'a:1'}}", "1:55: upstream.tls.server_name: must be a name or an IP address, without a port"),
    ("upstream: {servers: ['https://a'], tls: {server_name: a b}}", "1:55: upstream.tls.server_name: must be a name or an IP address, without a port"),
    ("upstream: {servers: ['https://a'], tls: {min_version: 1.1}}", "1:55: upstream.tls.min_version: must be 1.2 or 1.3, not '1.1'; did you mean 1.3?"),
    ("upstream: {servers: ['http://a'], health: {timeout: 6s}}", "1:53: upstream.health.timeout: 6s is above the interval of 5s: checks would pile up"),
    ("upstream: {servers: ['http://a'], ejection: {first: 10m, longest: 5m}}", "1:67: upstream.ejection.longest: 5m is below first, 10m"),
    ("upstream: {servers: ['http://a'], health: {path: health}}", "1:50: upstream.health.path: must be a path such as /healthz in ASCII, not 'health'"),
    ("upstream: {servers: [{url: 'http://a', weight: 0}]}", "1:48: upstream.servers[0].weight: must be at least 1, not 0"),
    ("upstream: {servers: ['http://a', 'http://a:80']}", "1:34: upstream.servers[1]: the server http://a is there twice"),
    ("upstream: {servers: ['http://localhost:8080']}", "1:22: upstream.servers[0]: is where Weir itself listens: requests would go round in circles"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line"), MISTAKES)
def test_mistake_is_told_with_its_place_and_remedy(text, line):
    whole = text if "upstream: {" in text or text in ("- a", "hello") else f"{text}\n{SERVERS}\n"

    assert mistakes(whole) == [f"weir.yaml:{line}"]


def test_listener_that_decides_and_a_limit_on_concurrency_do_not_go_together():
    decides = "listen: [{address: '127.0.0.1:8081', mode: decide}]"
    why = "a listener has mode: decide, which does not see when a request ends"

    assert mistakes(f"{decides}\nlimits: [{{name: a, concurrency: 2}}]\n{SERVERS}\n") == [
        f"weir.yaml:2:33: limits[0].concurrency: {why}: limit a rate there, or forward the requests"
    ]
    assert good(f"{decides}\nlimits: [{{name: a, rate: 2/s}}]")


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file():
    text = "listen: 80\nstore: {timeout: 5}\nlimits:\n  - {name: a, rate: 1}\n  - {rate: 0/s, nam: b}\nlog: {level: loud}\n"

    assert [line.split(": ")[:2] for line in mistakes(text)] == [
        ["weir.yaml:1:1", "upstream.servers"],
        ["weir.yaml:1:9", "listen"],
        ["weir.yaml:2:18", "store.timeout"],
        ["weir.yaml:4:21", "limits[0].rate"],
        ["weir.yaml:5:5", "limits[1].name"],
        ["weir.yaml:5:12", "limits[1].rate"],
        ["weir.yaml:5:17", "limits[1].nam"],
        ["weir.yaml:6:14", "log.level"],
    ]


def test_flood_of_mistakes_is_cut():
    lines = str(
        pytest.raises(ConfigError, loads, "\n".join(f"a{n}: 1" for n in range(90)), "f", {}).value
    ).splitlines()

    assert len(lines) == 51
    assert lines[-1] == "and 41 more mistakes"


def test_mistake_within_an_anchor_is_told_where_the_anchor_stands():
    text = f"{SERVERS}\ndownstream: {{timeouts: &t {{head: 5}}}}\n"

    assert mistakes(text) == [
        "weir.yaml:2:34: downstream.timeouts.head: 5 needs a unit: write 5ms, 5s, 5m or 5h"
    ]


SECRET = "hunter2zz"


@pytest.mark.parametrize(
    "text",
    [
        f"store: {{url: 'redis://:{SECRET}@host:port'}}",
        f"store: redis://:{SECRET}@host",
        f"store: [redis://:{SECRET}@host]",
        f"store: {{url: [redis://:{SECRET}@host]}}",
        f"store: {{redis://:{SECRET}@host}}",
        f"store: {{key_secret: '{SECRET} {SECRET}', timeout: 5}}",
        f"admin: {{token: {SECRET}\u00e9}}",
        f"admin: {{token: [{SECRET}]}}",
        f"admin: {{token: {{a: {SECRET}}}}}",
        f"admin: {{token: *{SECRET}}}",
        f"admin: {{token: !{SECRET}}}",
        f"admin: {{token: &{SECRET} &{SECRET}}}",
        f"admin: {{token: '{SECRET}', tokn: 1}}",
        f"admin: token:{SECRET}",
        f"upstream: {{servers: ['http://me:{SECRET}@a']}}",
        f"upstream: {{servers: 'http://me:{SECRET}@a'}}",
        f"contract: {{public_url: 'http://me:{SECRET}@a'}}",
        f"listen: http://me:{SECRET}@a",
        f"limits: [{{name: a, rate: 1/s, exempt: {{headers: {{X-Key: [{SECRET}]}}}}}}]",
    ],
)
def test_no_message_holds_a_secret(text):
    """Not even where the mistake is in the secret or its place."""
    assert SECRET not in "\n".join(mistakes(text))
    assert SECRET not in "\n".join(
        mistakes(SERVERS, {"WEIR_X": SECRET, "WEIR_STORE__URL": f"redis://:{SECRET}@h:x"})
    )


def test_number_as_a_secret_is_not_shown():
    assert mistakes(f"admin: {{token: 8675309}}\n{SERVERS}") == [
        "weir.yaml:1:16: admin.token: must be text, not a number; put it in quotes"
    ]


def test_secrets_do_not_show_in_the_settings():
    tree = good(f"admin: {{token: {SECRET}}}\nstore: {{url: 'redis://:{SECRET}@h', key_secret: {SECRET}}}")

    assert SECRET not in repr(tree)
    assert SECRET not in tree.model_dump_json()


NAMES = st.sampled_from(
    sorted({entry.path.rpartition(".")[2] for entry in entries()}) + ["other", "<template>", "[key]", ""]
)
WORDS = [
    "auto",
    "problem",
    "memory",
    "5s",
    "8KiB",
    "15/s",
    "http://a",
    "a:1",
    "500",
    "/a",
    "GET",
    "client-ip",
    "{title}",
]
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 600), st.sampled_from(WORDS), st.text(max_size=5)
)
TREES = st.recursive(
    LEAVES, lambda tree: st.lists(tree, max_size=3) | st.dictionaries(NAMES, tree, max_size=4), max_leaves=12
)


@st.composite
def configs(draw):
    """Something like a config: every block that is drawn is filled with its own names and wild values."""

    def block(model):
        data = {}
        for name in draw(st.lists(st.sampled_from(sorted(model.model_fields)), max_size=4, unique=True)):
            section = SECTIONS.get(f"{model.__name__}.{name}")
            data[name] = block(section) if section and draw(st.booleans()) else draw(TREES)
            if name == "limits" and draw(st.booleans()):
                data[name] = [block(LimitSettings) for _ in range(draw(st.integers(0, 2)))]
        return data

    return block(Settings)


SECTIONS = {
    f"{model.__name__}.{name}": field.annotation
    for model in (Settings, DownstreamSettings, UpstreamSettings, LimitSettings)
    for name, field in model.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}


@settings(max_examples=300, deadline=None)
@given(configs())
def test_anything_is_good_or_has_mistakes_of_one_line_each(data):
    """No config, however odd, gives a traceback or a mistake without a place."""
    try:
        loads(json.dumps(data), "weir.yaml", {})
    except ConfigError as error:
        for mistake in error.mistakes:
            assert re.fullmatch(r"weir\.yaml:1:\d+: \S.*\S", str(mistake))
            assert "cannot be understood" not in mistake.message


# --- files ---


def test_file_is_loaded(tmp_path):
    path = tmp_path / "weir.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SERVERS.encode() + b"\r\nworkers: auto\r\n")

    assert load(path, {}).workers == "auto"
    assert load(str(path), {}).workers == "auto"


def file_mistake(path):
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    (mistake,) = caught.value.mistakes
    return str(mistake)


def test_missing_file_is_one_line(tmp_path):
    assert file_mistake(tmp_path / "none.yaml") == f"{tmp_path}/none.yaml: no such file"


def test_directory_is_one_line(tmp_path):
    assert file_mistake(tmp_path) == f"{tmp_path}: is a directory; name the file within it"


def test_other_trouble_with_the_file_is_one_line(tmp_path):
    (tmp_path / "file").touch()

    assert (
        file_mistake(tmp_path / "file" / "weir.yaml")
        == f"{tmp_path}/file/weir.yaml: cannot be read: Not a directory"
    )


def test_forbidden_file_is_one_line(tmp_path, monkeypatch):
    """Root may read everything, so that the refusal is the system's words, not its deed."""

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)

    assert file_mistake(tmp_path / "weir.yaml") == f"{tmp_path}/weir.yaml: may not be read by this user"


def test_text_in_another_encoding_is_told_with_its_place(tmp_path):
    path = tmp_path / "weir.yaml"
    path.write_bytes(b"log:\n  # caf\xe9\n")

    assert file_mistake(path) == f"{path}:2:8: is not UTF-8 from here on"


def test_huge_file_is_refused_unread(tmp_path):
    path = tmp_path / "weir.yaml"
    path.write_bytes(b"#" * (1024 * 1024 + 1))

    assert file_mistake(path) == f"{path}: is larger than 1 MiB: this is no config"


def test_endless_file_is_refused():
    assert file_mistake("/dev/zero") == "/dev/zero: is larger than 1 MiB: this is no config"


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "--- # nothing", "null"])
def test_empty_file_lacks_the_one_thing_that_is_required(text):
    assert mistakes(text) == [
        "weir.yaml:1:1: upstream.servers: is required. "
        "The service's servers: http://host:port, https://host:port or http+unix:///path."
    ]


@pytest.mark.unmeasured
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [" + "x, " * 345_000 + "]\n", ":1:59996: holds more than 20000 values"),
        ("a: " + "[" * 1_000_000, ":1:27: nested more than 24 levels deep"),
        ("a: " + "x" * 1_000_000, ":1:1: a: unknown setting"),
    ],
)
def test_large_file_is_judged_within_seconds(tmp_path, text, message):
    """A reload happens in the loop that serves: a file at the bound must not stop it for long."""
    path = tmp_path / "weir.yaml"
    path.write_text(text)
    began = time.process_time()

    with pytest.raises(ConfigError, match=message):
        load(path, {})

    assert time.process_time() - began < 20


# --- settings ---


def test_defaults_are_those_of_the_design():
    tree = good()

    assert tree.listen[0].host == "0.0.0.0"
    assert tree.listen[0].port == 8080
    assert tree.admin.listen.address == "127.0.0.1:9901"
    assert tree.downstream.timeouts.head == 10.0
    assert tree.downstream.limits.head == 32 * 1024
    assert tree.downstream.limits.body is None
    assert tree.upstream.timeouts.response == 140.0
    assert tree.store.url.kind == "memory"
    assert tree.store.timeout == 0.05
    assert [str(key) for key in tree.limits[0].key] == [
        "header:X-Auth-Token",
        "header:Authorization",
        "client-ip",
    ]
    assert (tree.limits[0].burst, tree.limits[0].cost) == (15, 1)
    assert tree.errors.redact[0].low == 500


def test_burst_is_the_count_of_the_rate_unless_said():
    tree = good("limits: [{name: a, rate: 7/m}, {name: b, rate: 7/m, burst: 3}]")

    assert [limit.burst for limit in tree.limits] == [7, 3]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("listen: unix:/run/weir.sock", ["/run/weir.sock"]),
        (
            "listen: ['127.0.0.1:1', 'unix:/a', {address: 'unix:/b', proxy_protocol: true}]",
            [None, "/a", "/b"],
        ),
        ("listen: {address: 'unix:/a', tls: {cert: c, key: k}}", ["/a"]),
    ],
)
def test_listen_is_one_or_several(text, paths):
    assert [listen.unix_path for listen in good(text).listen] == paths


def test_free_ports_may_repeat():
    """Port 0 is another one each time."""
    assert len(good("listen: ['127.0.0.1:0', '127.0.0.1:0']\nadmin: {listen: '127.0.0.1:0'}").listen) == 2


def test_block_that_is_all_comments_is_a_block_of_defaults():
    assert good("store:\n  # url: redis://redis\nlog:\n") == good()


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        good().workers = 3


def test_hash_is_of_what_is_meant_not_of_how_it_is_written():
    assert config_hash(good("listen: 0.0.0.0:8080\ndrain: {delay: 5000ms}")) == config_hash(good("# nothing"))
    assert config_hash(good("drain: {delay: 6s}")) != config_hash(good())
    assert len(config_hash(good())) == 12


def test_changes_that_wait_for_a_restart_are_named():
    new = good(
        "listen: 0.0.0.0:1\nadmin: {listen: '127.0.0.1:2', token: t}\nworkers: 2\nstore: {url: 'redis://a', timeout: 1ms}\nlog: {access: off, level: debug}"
    )

    assert restart_differences(good(), new) == (
        "listen",
        "admin.listen",
        "workers",
        "log.access",
        "store.url",
    )
    assert restart_differences(new, new) == ()


@pytest.mark.parametrize(
    ("good", "bad", "after"), [(0, 1100, 0), (700, 620, 3), (499, 502, 600), (0, 501, 1)]
)
def test_each_mistake_of_a_long_list_is_told_where_it_stands(good, bad, after):
    """However many come before, and however many there are."""
    entries = ["/good"] * good + ["no slash"] * bad + ["/good"] * after
    text = "\n".join(["contract:", "  known_paths:", *(f"    - {entry}" for entry in entries)])
    text += "\nupstream: {servers: ['http://a']}"
    found = pytest.raises(ConfigError, loads, text, "f", {}).value

    assert [mistake.line for mistake in found.mistakes] == list(range(good + 3, good + 53))
    assert found.more == bad - 50


def test_mistake_without_a_line_is_told_by_its_file_alone():
    assert str(Mistake("WEIR_X", 0, 0, "unknown")) == "WEIR_X: unknown"
    assert str(Mistake("f", 3, 4, "wrong")) == "f:3:4: wrong"


# --- one mistake hides no other ---

# Two or more mistakes that stand side by side, the second of them in what only a whole block can show.
SIDE_BY_SIDE = [
    ("limits: [{name: a, rate: 1}, {name: a, rate: 1/s}]", ["limits[0].rate", "limits[1].name"]),
    ("limits: [{name: a, rate: 1/s, colour: red}, {name: a}]", ["limits[0].colour", "limits[1].name", "limits[1].rate"]),
    ("limits: [x, {name: a, rate: 1/s}, {name: a, rate: 1/s}]", ["limits[0]", "limits[2].name"]),
    ("limits: [{name: a, rate: 1/s, cost: 2, mode: no}]", ["limits[0].cost", "limits[0].mode"]),
    ("limits: [{name: a, rate: 9/s, burst: x, cost: 20}]", ["limits[0].burst"]),  # of what burst should it be above?
    ("limits: [{name: a, rate: x, cost: 20}]", ["limits[0].rate"]),
    ("limits: [{name: a, rate: 1/s, key: [nobody, const, const]}]", ["limits[0].key[0]", "limits[0].key[2]"]),
    ("limits: [{name: a, rate: 1/s, key: [client-ip, client-ip], lease: 9}]", ["limits[0].key[1]", "limits[0].lease"]),
    ("workers: 2\nlog: {level: loud}", ["workers", "log.level"]),
    ("workers: 2\nlimits: [{name: a, rate: 1/s}, {name: a, rate: 1/s}]", ["workers", "limits[1].name"]),
    ("workers: 2\nlimits: 7", ["limits"]),  # two workers with no limits would do
    ("workers: 2\nstore: {url: mem}", ["store.url"]),  # whether two workers fit is not known
    ("admin: {listen: 0.0.0.0:1, colour: red}", ["admin.token", "admin.colour"]),
    ("admin: {listen: 0.0.0.0:8080, token: 1}", ["admin.listen", "admin.token"]),
    ("listen: ['a:1', 'a:1', 'b']", ["listen[1]", "listen[2]"]),
    ("listen: [{address: 'a:1', tls: {cert: x}}, 'a:1']", ["listen[0].tls.key", "listen[1]"]),
    ("upstream: {servers: ['http://a', 'http://a', 'ftp://b'], slow_start: 1}", ["upstream.servers[1]", "upstream.servers[2]", "upstream.slow_start"]),
    ("upstream: {servers: [{url: 'http://a', weight: 0}, 'http://a']}", ["upstream.servers[0].weight", "upstream.servers[1]"]),
    ("upstream: {servers: ['http://a', 'http://localhost:8080'], host: me}", ["upstream.servers[1]", "upstream.host"]),
    ("upstream: {servers: ['http://a'], health: {timeout: 6s, rise: 0}}", ["upstream.health.timeout", "upstream.health.rise"]),
    ("upstream: {servers: ['http://a'], health: {timeout: 6s, interval: x}}", ["upstream.health.interval"]),
    ("downstream: {limits: {request_line: 64KiB, headers: 0}}", ["downstream.limits.request_line", "downstream.limits.headers"]),
    ("contract: {rules: [{status: 201, body: any}, {status: 201, body: some}]}", ["contract.rules[1].status", "contract.rules[1].body"]),
    ("contract: {rules: [{status: 204, body: required, colour: red}]}", ["contract.rules[0]", "contract.rules[0].colour"]),
    ("contract: {rules: [{status: 200, headers: [a, A, b c]}]}", ["contract.rules[0].headers[1]", "contract.rules[0].headers[2]"]),
    ("errors: {redact: [200, x]}", ["errors.redact[0]", "errors.redact[1]"]),
    ("errors: {format: {content_type: application/json, body: '{title}', colour: red}}", ["errors.format.body", "errors.format.colour"]),
    ("store: {timeout: 3m, url: 'redis://h', tls: {ca: a}, max_keys: 0}", ["store.timeout", "store.tls", "store.max_keys"]),
    ("store: {timeout: 3m, timeout: 3m}\nworkers: 2", ["store.timeout", "store.timeout", "workers"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "paths"), SIDE_BY_SIDE)
def test_mistake_hides_no_other(text, paths):
    whole = text if "upstream: {" in text else f"{text}\n{SERVERS}\n"

    found = [mistake.split(": ")[1] for mistake in mistakes(whole)]

    assert sorted(found) == sorted(paths)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [text for text, *_ in MISTAKES if re.match("[a-z]+: ", text) and "\nplans" not in text]
        ),
        min_size=2,
        max_size=4,
        unique_by=lambda text: text.partition(":")[0],
    )
)
def test_mistakes_of_different_blocks_are_all_told(texts):
    """Each of them is told beside the others as it is alone, but for what depends on another."""
    alone = {message for text in texts for message in _places(text)}
    together = set(_places("\n".join(texts)))

    assert {place for place in alone if place.partition(":")[0] != "store"} - together <= BETWEEN_BLOCKS
    assert together - alone <= BETWEEN_BLOCKS


# Settings that are judged by those of other blocks.
BETWEEN_BLOCKS = {
    "workers",
    "limits[0].concurrency",
    "store.timeout",
    "store.tls",
    "upstream.tls",
    "admin.listen",
    "admin.probes",
    "admin.token",
    "upstream.servers[0]",
    "upstream.servers",
}


def _places(text):
    whole = text if "upstream: {" in text else f"{text}\n{SERVERS}\n"
    return [mistake.split(": ")[1] for mistake in mistakes(whole)]


# --- names and aliases with odd letters ---


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("l\u0456sten: a", "1:1: l\\u0456sten: unknown setting; did you mean listen?"),  # a Cyrillic i
        ("limits: [{name: a, rate: 1/s, bur\u200bst: 2}]", "1:31: limits[0].bur\\u200bst: unknown setting; did you mean burst?"),
        ("st\u00f6re: {}", "1:1: st\\xf6re: unknown setting; did you mean store?"),
        ("store: {ur\u00a0l: memory}", "1:9: store.ur\\xa0l: unknown setting; did you mean url?"),
        ("a: &times {}\nb: *time", "2:4: not valid YAML: the alias is used before its anchor is defined; did you mean *times?"),
    ],
)  # fmt: skip
def test_odd_letters_are_shown_escaped(text, line):
    """They look like others, or like nothing."""
    assert mistakes(text if "&" in text else f"{text}\n{SERVERS}") == [f"weir.yaml:{line}"]


@pytest.mark.parametrize(
    ("written", "where", "values"),
    [
        ("upstream: {health: {interval: 500ms}}", "upstream.health.timeout", 0.5),
        ("upstream: {health: {interval: 500ms, timeout: 100ms}}", "upstream.health.timeout", 0.1),
        ("upstream: {health: {interval: 1h}}", "upstream.health.timeout", 2.0),
        ("upstream: {ejection: {first: 10m}}", "upstream.ejection.longest", 600.0),
        ("upstream: {ejection: {longest: 5s}}", "upstream.ejection.first", 5.0),
        ("downstream: {limits: {head: 4KiB}}", "downstream.limits.request_line", 4096),
    ],
)
def test_default_gives_way_to_what_is_written(written, where, values):
    """What is written alone is a good config."""
    text = written.replace("upstream: {", "upstream: {servers: ['http://a'], ", 1)
    if not text.startswith("upstream"):
        text += "\nupstream: {servers: ['http://a']}"
    found = loads(text, "weir.yaml", {})

    assert attrgetter(where)(found) == values
