"""Warnings: what is valid and probably not meant, and what looks like it and is well meant."""

from pathlib import Path

import pytest

from proxy.config.doubts import DOUBTS
from proxy.config.loader import examine

# One row a warning: the text that has it (without the upstream, which is added) and the line it gives.
WARNINGS = [
    ("limits: [{name: a, rate: 15/s, burst: 14}]", "1:39: warning: limits[0].burst: 14 is below the 15 requests that 15/s allows in a second: who sends those at once is refused; write 15 or more, or leave it out"),
    ("limits: [{name: a, rate: 120/m, burst: 1}]", "1:40: warning: limits[0].burst: 1 is below the 2 requests that 120/m allows in a second: who sends those at once is refused; write 2 or more, or leave it out"),
    ("forwarded: {trust: ['2000::/3']}", "1:21: warning: forwarded.trust[0]: 2000::/3 is a good part of the internet: whoever is in it can choose the address that is charged; name the proxies that stand in front"),
    ("forwarded: {trust: [32.0.0.0/5]}", "1:21: warning: forwarded.trust[0]: 32.0.0.0/5 is a good part of the internet: whoever is in it can choose the address that is charged; name the proxies that stand in front"),
    ("plans: [{name: big, rate: 30/s, burst: 9, keys: []}]\nlimits: [{name: a, rate: 15/s, key: client-ip, plans: [big]}]", "1:40: warning: plans[0].burst: 9 is below the 30 requests that 30/s allows in a second: who sends those at once is refused; write 30 or more, or leave it out"),
    ("limits: [{name: a, rate: 15/s, unproven: {rate: 60/s, burst: 20}}]", "1:62: warning: limits[0].unproven.burst: 20 is below the 60 requests that 60/s allows in a second: who sends those at once is refused; write 60 or more, or leave it out"),
    ("forwarded: {trust: [0.0.0.0/0]}", "1:21: warning: forwarded.trust[0]: 0.0.0.0/0 lets every client choose the address that it is charged by; name the proxies that stand in front"),
    ("forwarded: {trust: [10.1.0.0/16, '::/0']}", "1:34: warning: forwarded.trust[1]: ::/0 lets every client choose the address that it is charged by; name the proxies that stand in front"),
    ("forwarded: {trust: [10.0.0.0/8]}", "1:21: warning: forwarded.trust[0]: 10.0.0.0/8 is a whole private network: whoever is in it can choose the address that is charged; name the proxies that stand in front"),
    ("forwarded: {trust: [192.0.0.0/8]}", "1:21: warning: forwarded.trust[0]: 192.0.0.0/8 is a whole private network: whoever is in it can choose the address that is charged; name the proxies that stand in front"),
    ("forwarded: {trust: ['fc00::/7']}", "1:21: warning: forwarded.trust[0]: fc00::/7 is a whole private network: whoever is in it can choose the address that is charged; name the proxies that stand in front"),
    ("listen: [{address: 'a:1', mode: decide}]", "1:33: warning: listen[0].mode: decide answers proxies in forwarded.trust alone, and there are none: all are refused; name them there"),
    ("forwarded: {trust: [127.0.0.1]}\nlisten: [{address: 'a:1', mode: decide}]", "2:33: warning: listen[0].mode: decide believes a client's own X-Original-URI or X-Forwarded-Uri where the proxy asks by its own line; name the proxy that asks in `front`"),
    ("forwarded: {trust: [127.0.0.1]}\nlisten: [{address: 'a:1', mode: decide, on_bad_front: allow}]", "2:55: warning: listen[0].on_bad_front: allow lets a client through that sends the fields of another kind of proxy; name the proxy that asks in `front`"),
    ("limits: [{name: a, rate: 1/s, key: ['header:X-Forwarded-For', client-ip]}]", "1:37: warning: limits[0].key[0]: X-Forwarded-For is what hops say of the way, and any client can write it too: it counts only from forwarded.trust; write client-ip for the address that these vouch for"),
    ("limits: [{name: a, rate: 1/s, key: ['client-ip+header:x-real-ip', client-ip]}]", "1:37: warning: limits[0].key[0]: x-real-ip is what hops say of the way, and any client can write it too: it counts only from forwarded.trust; write client-ip for the address that these vouch for"),
    ("limits: [{name: a, rate: 1/s, key: ['header:X_Key', client-ip]}]", "1:37: warning: limits[0].key[0]: X_Key has a _ in it: many services take it for the same field as X-Key, and it is dropped unless a setting names it; write - if that is meant"),
    ("limits: [{name: a, rate: 1/s, key: client-ip, match: {absent: [X-Auth-Token]}}]", "1:64: warning: limits[0].match.absent[0]: no limit counts by X-Auth-Token: whoever sends one, whatever its value, leaves this limit; let another limit have it in its key"),
    ("limits: [{name: a, rate: 1/s, match: {headers: {Forwarded: '*'}}}]", "1:60: warning: limits[0].match.headers.Forwarded: Forwarded is what hops say of the way, and any client can write it too: it counts only from forwarded.trust; write client-ip for the address that these vouch for"),
    ("limits: [{name: a, rate: 1/s, key: ['header:X_Forwarded_For', client-ip]}]", "1:37: warning: limits[0].key[0]: X_Forwarded_For is what hops say of the way, and any client can write it too: it counts only from forwarded.trust; write client-ip for the address that these vouch for"),
    *((f"limits: [{{name: a, rate: 1/s, key: ['header:{name}', client-ip]}}]", f"1:37: warning: limits[0].key[0]: {name} is an address by somebody's word, and any client can write it too: Weir does not ask who did; write client-ip, and in forwarded.trust the proxies that stand in front") for name in ("CF-Connecting-IP", "true-client-ip", "X-Client-Ip", "X-Original-Forwarded-For", "X_Cluster_Client_IP")),
    ("limits: [{name: a, rate: 1/s, key: client-ip, match: {headers: {X-Client-IP: '10.*'}}}]", "1:78: warning: limits[0].match.headers.X-Client-IP: X-Client-IP is an address by somebody's word, and any client can write it too: Weir does not ask who did; write client-ip, and in forwarded.trust the proxies that stand in front"),
    ("limits: [{name: a, rate: 1/s, key: client-ip, cost: [{match: {headers: {X_Bulk: '1'}}, cost: 1}]}]", "1:81: warning: limits[0].cost[0].match.headers.X_Bulk: X_Bulk has a _ in it: many services take it for the same field as X-Bulk, and it is dropped unless a setting names it; write - if that is meant"),
    ("limits: [{name: a, rate: 1/s, key: client-ip, cost: [{match: {absent: [X-Real-IP]}, cost: 1}]}]", "1:72: warning: limits[0].cost[0].match.absent[0]: X-Real-IP is what hops say of the way, and any client can write it too: it counts only from forwarded.trust; write client-ip for the address that these vouch for"),
    ("contract: {credentials: [X_Api_Key]}", "1:26: warning: contract.credentials[0]: X_Api_Key has a _ in it: many services take it for the same field as X-Api-Key, and it is dropped unless a setting names it; write - if that is meant"),
    ("limits: [{name: a, rate: 1/s, exempt: {headers: {X-Forwarded-Host: a}}}]", "1:68: warning: limits[0].exempt.headers.X-Forwarded-Host: X-Forwarded-Host is what hops say of the way, and any client can write it too: it counts only from forwarded.trust; write client-ip for the address that these vouch for"),
    ("limits: [{name: a, rate: 1/s, key: client-ip, match: {paths: [/ok, '/\u0430pi/*']}}]", "1:68: warning: limits[0].match.paths[1]: has \\u0430 in it, which looks like another letter or like nothing; write it anew"),
    ("contract: {known_paths: ['/api\u200b/**']}", "1:26: warning: contract.known_paths[0]: has \\u200b in it, which looks like another letter or like nothing; write it anew"),
    ("limits: [{name: a, rate: 1/s, key: client-ip, exempt: {headers: {X-In: 'shop\u03bfne'}}}]", "1:72: warning: limits[0].exempt.headers.X-In: has \\u03bf in it, which looks like another letter or like nothing; write it anew"),
    ("limits: [{name: a, rate: 9/s, key: client-ip, match: {methods: [GET]}, cost: [{match: {methods: [POST]}, cost: 3}]}]", "1:97: warning: limits[0].cost[0].match.methods: no request costs this: match.methods has none of these"),
    ("limits: [{name: a, rate: 9/s, key: client-ip, match: {paths: ['/a/**']}, cost: [{match: {paths: [/a/b, /b]}, cost: 3}, {match: {paths: [/b]}, cost: 2}]}]", "1:136: warning: limits[0].cost[1].match.paths: no request costs this: no path fits both these and match.paths"),
    ("limits: [{name: a, rate: 1/s, key: client-ip, mode: shadow, enforce: 50%}]", "1:70: warning: limits[0].enforce: means nothing in mode: shadow, which refuses nobody; leave out one of them"),
    ("limits: [{name: a, rate: 1/s, key: client-ip, exempt: {cidrs: [0.0.0.0/1, 128.0.0.0/1, '::/0']}}]", "1:63: warning: limits[0].exempt.cidrs: this limit never counts a request: every address is exempt"),
    ("limits: [{name: a, rate: 1/s, key: 'header:X-Api-Key'}]", "1:36: warning: limits[0].key: all requests without header:X-Api-Key share one bucket; put client-ip last to count them by address, or say when_absent: share, or skip to leave them uncounted"),
    ("limits: [{name: a, rate: 1/s, key: ['cookie:a', 'path:1+host']}]", "1:36: warning: limits[0].key: all requests without cookie:a or path:1+host share one bucket; put client-ip last to count them by address, or say when_absent: share, or skip to leave them uncounted"),
    ("limits: [{name: a, rate: 1/s, key: 'client-ip+path:2'}]", "1:36: warning: limits[0].key: all requests without client-ip+path:2 share one bucket; put client-ip last to count them by address, or say when_absent: share, or skip to leave them uncounted"),
    ("limits: [{name: a, rate: 1/s, key: ['cookie:a', 'client-ip+path:1']}]", "1:36: warning: limits[0].key: all requests without cookie:a or client-ip+path:1 share one bucket; put client-ip last to count them by address, or say when_absent: share, or skip to leave them uncounted"),
    ("limits: [{name: a, concurrency: 9, key: 'header:X-Api-Key'}]", "1:41: warning: limits[0].key: all requests without header:X-Api-Key share one bucket; put client-ip last to count them by address, or say when_absent: share, or skip to leave them uncounted"),
    ("limits: [{name: a, rate: 1/s, key: ['header:X-A', host]}]", "1:51: warning: limits[0].key[1]: host is charged beside header:X-A, as one bucket for all who share it; write header:X-A+host for one bucket of both"),
    ("contract: {allow_methods: [GET]}\nlimits: [{name: a, rate: 1/s, key: client-ip, match: {methods: [POST, PUT]}}]", "2:64: warning: limits[0].match.methods: this limit never counts a request: contract.allow_methods refuses its methods before"),
    ("contract: {known_paths: [/api/**]}\nlimits: [{name: a, rate: 1/s, key: client-ip, match: {paths: [/health]}}]", "2:62: warning: limits[0].match.paths: this limit never counts a request: no path of contract.known_paths fits, and others are refused before"),
    ("limits: [{name: a, rate: 1/s, key: client-ip, exempt: {cidrs: [0.0.0.0/0, '::/0']}}]", "1:63: warning: limits[0].exempt.cidrs: this limit never counts a request: every address is exempt"),
    ("limits: [{name: a, rate: 1/s, key: client-ip, exempt: {paths: [/**]}}]", "1:63: warning: limits[0].exempt.paths: this limit never counts a request: every path is exempt"),
    ("limits: [{name: a, rate: 1/s, key: client-ip, match: {paths: [/a]}, exempt: {paths: [/b, /a]}}]", "1:85: warning: limits[0].exempt.paths: this limit never counts a request: every path that it matches is exempt"),
    ("limits: [{name: a, rate: 1/s, key: client-ip, match: {headers: {X-A: b}}, exempt: {headers: {x-a: b}}}]", "1:93: warning: limits[0].exempt.headers: this limit never counts a request: X-A, which it asks for, exempts"),
    ("limits: [{name: a, rate: 1/s, key: client-ip, match: {paths: [/api/**]}, exempt: {paths: [/api/x, /health]}}]", "1:99: warning: limits[0].exempt.paths[1]: exempts nobody: /health fits none of match.paths"),
    ("contract: {known_paths: [/api/**]}\nlimits: [{name: a, rate: 1/s, key: client-ip, exempt: {paths: [/health]}}]", "2:64: warning: limits[0].exempt.paths[0]: exempts nobody: /health fits none of contract.known_paths"),
    ("limits: [{name: a, rate: 1/s, key: client-ip, match: {headers: {X-A: 'b*'}}, exempt: {headers: {X-A: c}}}]", "1:102: warning: limits[0].exempt.headers.X-A: exempts nobody: match.headers asks for another value of X-A"),
    ("limits: [{name: a, rate: 1/s, key: client-ip, exempt: {headers: {X-In: '${KEY}'}}}]", "1:72: warning: limits[0].exempt.headers.X-In: holds a placeholder that nobody fills in: references stand for secrets only"),
    *((f"admin: {{token: '{token}'}}", "1:16: warning: admin.token: is what stands in examples, or was never filled in: everybody knows it") for token in ("changeme", "your-token-here", "{{token}}", "secret123", "12345", "aaaaaaaa", "$TOKEN", "%TOKEN%", "<token>", "${weir-token}", "$(cat/token)")),
    ("store: {key_secret: Change_Me}", "1:21: warning: store.key_secret: is what stands in examples, or was never filled in: everybody knows it"),
    ("store: {url: 'redis://:password@h'}", "1:14: warning: store.url: is what stands in examples, or was never filled in: everybody knows it"),
    ("limits: [{name: a, rate: 1/s, key: client-ip, max_wait: 31s}]", "1:57: warning: limits[0].max_wait: 31s is long for a token, and drain.timeout gives a stop 30s: who would wait longer is answered 503 then"),
    ("drain: {timeout: 500ms}\nlimits: [{name: a, rate: 1/s, key: client-ip, max_wait: 1s}]", "2:57: warning: limits[0].max_wait: 1s is long for a token, and drain.timeout gives a stop 500ms: who would wait longer is answered 503 then"),
    ("upstream: {servers: ['http://a'], timeouts: {response: 5s}}\ncontract: {rules: [{status: 200-299, headers: []}]}\nlimits: [{name: a, rate: 1/s, key: client-ip, max_wait: 6s}]", "3:57: warning: limits[0].max_wait: 6s is long for a token, and upstream.timeouts.response gives the service 5s for the answer itself"),
    ("store: {url: 'redis+sentinel://a:1/b', sentinel: {password: changeme}}", "1:61: warning: store.sentinel.password: is what stands in examples, or was never filled in: everybody knows it"),
    ("traces: {otlp: 'http://a', headers: {X-Key: '<key>'}}", "1:45: warning: traces.headers.X-Key: is what stands in examples, or was never filled in: everybody knows it"),
    ("errors: {keep_headers: [Set-Cookie, Content-Length]}", "1:37: warning: errors.keep_headers[1]: Content-Length belongs to the body that is replaced: what stands for it has its own"),
    ("upstream: {servers: ['http://a'], timeouts: {response: 30s}}", "1:56: warning: upstream.timeouts.response: 30s is below the 140s within which the service promises to answer: what comes later is a 504"),
    ("limits: [{name: a, rate: 1/s, key: client-ip, exempt: {headers: {User-Agent: 'kube-probe/*'}}}]", '1:78: warning: limits[0].exempt.headers.User-Agent: any client can write User-Agent as it likes, and is not limited then; ask for a secret value, or let clients pass by exempt.cidrs'),
    ("limits: [{name: a, rate: 1/s, key: client-ip, exempt: {headers: {Origin: 'https://app.example'}}}]", '1:74: warning: limits[0].exempt.headers.Origin: any client can write Origin as it likes, and is not limited then; ask for a secret value, or let clients pass by exempt.cidrs'),
    ("limits: [{name: a, rate: 1/s, key: client-ip, exempt: {headers: {Cookie: '*session=*'}}}]", '1:74: warning: limits[0].exempt.headers.Cookie: any value of Cookie will do, so that whoever sends one is not limited; ask for a secret value, or let clients pass by exempt.cidrs'),
    ("limits: [{name: a, rate: 1/s, key: client-ip, exempt: {headers: {X-Internal: '*'}}}]", '1:78: warning: limits[0].exempt.headers.X-Internal: any value of X-Internal will do, so that whoever sends one is not limited; ask for a secret value, or let clients pass by exempt.cidrs'),
    ("limits: [{name: a, rate: 1/s, key: client-ip, exempt: {headers: {Authorization: 'Bearer *'}}}]", '1:81: warning: limits[0].exempt.headers.Authorization: any value of Authorization will do, so that whoever sends one is not limited; ask for a secret value, or let clients pass by exempt.cidrs'),
    ('limits: [{name: a, rate: 1/s, key: client-ip, match: {headers: {TE: trailers}}}]', '1:69: warning: limits[0].match.headers.TE: TE never reaches the service: whoever sends it is no other client there'),
    ('contract: {credentials: [Proxy-Authorization]}', '1:26: warning: contract.credentials[0]: Proxy-Authorization never reaches the service: whoever sends it is no other client there'),
    ("upstream: {servers: ['http://a'], host: upstream}\nlimits: [{name: a, rate: 1/s, key: host}]", "2:36: warning: limits[0].key: the service never sees the client's Host (upstream.host: upstream): a client that invents one is served the same, and counted elsewhere"),
    ("upstream: {servers: ['http://a'], host: upstream}\nlimits: [{name: a, rate: 1/s, key: client-ip, match: {headers: {Host: a}}}]", "2:71: warning: limits[0].match.headers.Host: the service never sees the client's Host (upstream.host: upstream): a client that invents one is served the same, and counted elsewhere"),
    ("upstream: {servers: ['http://a'], host: upstream}\nlimits: [{name: a, rate: 1/s, key: client-ip, exempt: {headers: {Host: a}}}]", "2:72: warning: limits[0].exempt.headers.Host: the service never sees the client's Host (upstream.host: upstream): a client that invents one is served the same, and counted elsewhere"),
    ('forwarded: {trust: [10.0.0.0/9, 10.128.0.0/9]}', '1:20: warning: forwarded.trust: together these are a whole private network: whoever is in it can choose the address that is charged; name the proxies that stand in front'),
    ("limits: [{name: a, rate: 1/s, key: ['header:Incap-Client-IP', client-ip]}]", "1:37: warning: limits[0].key[0]: Incap-Client-IP is an address by somebody's word, and any client can write it too: Weir does not ask who did; write client-ip, and in forwarded.trust the proxies that stand in front"),
    ("limits: [{name: a, rate: 1/s, key: ['header:CloudFront-Viewer-Address', client-ip]}]", "1:37: warning: limits[0].key[0]: CloudFront-Viewer-Address is an address by somebody's word, and any client can write it too: Weir does not ask who did; write client-ip, and in forwarded.trust the proxies that stand in front"),
    ("limits: [{name: a, rate: 1/s, key: ['header:Ali-CDN-Real-IP', client-ip]}]", "1:37: warning: limits[0].key[0]: Ali-CDN-Real-IP is an address by somebody's word, and any client can write it too: Weir does not ask who did; write client-ip, and in forwarded.trust the proxies that stand in front"),
    ("limits: [{name: a, rate: 1/s, key: ['header:X-Sucuri-ClientIP', client-ip]}]", "1:37: warning: limits[0].key[0]: X-Sucuri-ClientIP is an address by somebody's word, and any client can write it too: Weir does not ask who did; write client-ip, and in forwarded.trust the proxies that stand in front"),
    ("limits: [{name: a, rate: 1/s, key: ['header:Forwarded-For', client-ip]}]", "1:37: warning: limits[0].key[0]: Forwarded-For is an address by somebody's word, and any client can write it too: Weir does not ask who did; write client-ip, and in forwarded.trust the proxies that stand in front"),
    ("limits: [{name: a, rate: 1/s, key: ['header:X-ProxyUser-Ip', client-ip]}]", "1:37: warning: limits[0].key[0]: X-ProxyUser-Ip is an address by somebody's word, and any client can write it too: Weir does not ask who did; write client-ip, and in forwarded.trust the proxies that stand in front"),
    ("limits: [{name: a, rate: 1/s, key: ['header:Remote-Addr', client-ip]}]", "1:37: warning: limits[0].key[0]: Remote-Addr is an address by somebody's word, and any client can write it too: Weir does not ask who did; write client-ip, and in forwarded.trust the proxies that stand in front"),
    ("limits: [{name: a, rate: 1/s, key: 'header:X-A', when_absent: skip, match: {absent: [x-a]}}]", '1:85: warning: limits[0].match.absent: this limit never counts a request: its key is read from what its requests lack'),
    ("limits: [{name: a, rate: 1/s, key: client-ip, match: {headers: {X-A: 'b*c'}}, exempt: {headers: {X-A: 'b*'}}}]", '1:97: warning: limits[0].exempt.headers: this limit never counts a request: X-A, which it asks for, exempts'),
    ("limits: [{name: a, rate: 9/s, key: client-ip, cost: [{match: {headers: {X-A: '*'}}, cost: 5}, {match: {headers: {x-a: b}}, cost: 9}]}]", '1:95: warning: limits[0].cost[1]: no request costs this: an entry before it takes all of these'),
    ("plans: [{name: p, rate: 1/s, keys: ['sha256:0000000000000000000000000000000000000000000000000000000000000000']}, {name: q, rate: 2/s, keys: ['sha256:0000000000000000000000000000000000000000000000000000000000000000']}]\nlimits: [{name: a, rate: 1/s, key: client-ip, plans: [p, q]}]", '2:58: warning: limits[0].plans[1]: one of its keys has a plan that stands before it here, which counts'),
]  # fmt: skip

# The same of who pays; the rows above and below say nothing of it.
INVENTED = "whoever invents"
UNPAID = [
    ("limits: [{name: a, rate: 1/s, key: ['client-ip+header:X-A', client-ip]}]", '1:36: warning: limits[0].key: whoever invents client-ip+header:X-A anew for each request is never refused: give the limit unproven: {rate: 60/s}, or let a limit by client-ip stand beside it'),
    ("limits: [{name: a, rate: 1/s, key: ['header:X-A+path:1', client-ip]}]", '1:36: warning: limits[0].key: whoever invents header:X-A+path:1 anew for each request is never refused: give the limit unproven: {rate: 60/s}, or let a limit by client-ip stand beside it'),
    ("limits: [{name: a, rate: 1/s, key: ['header:X-A+host', client-ip]}]", '1:36: warning: limits[0].key: whoever invents header:X-A+host anew for each request is never refused: give the limit unproven: {rate: 60/s}, or let a limit by client-ip stand beside it'),
    ('limits: [{name: a, rate: 15/s}, {name: b, rate: 9/s, key: client-ip, mode: shadow}]', '1:10: warning: limits[0].key: whoever invents header:X-Auth-Token anew for each request is never refused: give the limit unproven: {rate: 60/s}, or let a limit by client-ip stand beside it'),
    ('limits: [{name: a, rate: 15/s}, {name: b, rate: 9/s, key: client-ip, enforce: 0%}]', '1:10: warning: limits[0].key: whoever invents header:X-Auth-Token anew for each request is never refused: give the limit unproven: {rate: 60/s}, or let a limit by client-ip stand beside it'),
    ('limits: [{name: a, rate: 15/s}, {name: b, rate: 9/s, key: client-ip, exempt: {headers: {X-In: 7Hq29vKx}}}]', '1:10: warning: limits[0].key: whoever invents header:X-Auth-Token anew for each request is never refused: give the limit unproven: {rate: 60/s}, or let a limit by client-ip stand beside it'),
    ('limits: [{name: a, rate: 15/s}, {name: b, concurrency: 9, key: client-ip}]', '1:10: warning: limits[0].key: whoever invents header:X-Auth-Token anew for each request is never refused: give the limit unproven: {rate: 60/s}, or let a limit by client-ip stand beside it'),
    ("limits: [{name: a, rate: 15/s}, {name: b, rate: 9/s, key: ['client-ip+path:2', client-ip]}]", '1:10: warning: limits[0].key: whoever invents header:X-Auth-Token anew for each request is never refused: give the limit unproven: {rate: 60/s}, or let a limit by client-ip stand beside it'),
    ("limits: [{name: a, rate: 15/s}]", "1:10: warning: limits[0].key: whoever invents header:X-Auth-Token anew for each request is never refused: give the limit unproven: {rate: 60/s}, or let a limit by client-ip stand beside it"),
    ("limits: [{name: a, rate: 1/s, key: ['cookie:a+query:b', client-ip]}]", "1:36: warning: limits[0].key: whoever invents cookie:a+query:b anew for each request is never refused: give the limit unproven: {rate: 60/s}, or let a limit by client-ip stand beside it"),
    ("limits: [{name: a, rate: 15/s}, {name: b, rate: 9/s, key: client-ip, match: {methods: [POST]}}]", "1:10: warning: limits[0].key: whoever invents header:X-Auth-Token anew for each request is never refused: give the limit unproven: {rate: 60/s}, or let a limit by client-ip stand beside it"),
    ("forwarded: {trust: [127.0.0.1]}\nlisten: [{address: 'a:1', mode: decide, front: itself}]\nlimits: [{name: a, rate: 15/s, unproven: {rate: 60/s}}]", "3:42: warning: limits[0].unproven: no credential is ever proven: listeners in mode: decide see no answers of the service; let a limit by client-ip stand beside instead"),
    ("plans: [{name: big, rate: 90/s}]\nlimits: [{name: a, rate: 15/s, unproven: {rate: 60/s}, plans: [big]}]", "1:16: warning: plans[0].name: nobody has big: name who has it in its keys or keys_file, or write keys: []"),
    ("plans: [{name: big, rate: 9/s}]", "1:16: warning: plans[0].name: no limit names big in its plans: nobody is charged by it"),
]  # fmt: skip
PAID = [
    "limits: [{name: a, rate: 15/s, unproven: {rate: 60/s}}]",
    "limits: [{name: a, rate: 15/s}, {name: b, rate: 90/s, key: client-ip}]",
    "limits: [{name: a, rate: 15/s, match: {paths: [/a]}}, {name: b, rate: 9/s, key: client-ip, match: {paths: [/a]}}]",
    "plans: [{name: big, rate: 90/s, keys: []}]\nlimits: [{name: a, rate: 15/s, unproven: {rate: 60/s}, plans: [big]}]",
]

WELL_MEANT = [
    "forwarded: {trust: ['unix:']}",
    "forwarded: {trust: [192.0.2.0/25, 192.0.2.128/25]}",
    "forwarded: {trust: [127.0.0.1]}\nlisten: [{address: 'a:1', mode: decide, front: itself}]\nlimits: [{name: a, rate: 15/s, key: client-ip}]",
    "limits: [{name: a, rate: 1/s, key: client-ip, exempt: {headers: {Authorization: 'Bearer 7Hq29vKx*', Cookie: '*sid=7Hq29vKx*'}}}]",
    "limits: [{name: a, rate: 1/s, key: client-ip, match: {headers: {Upgrade: websocket}}}]",
    "limits: [{name: a, rate: 1/s, key: 'header:X-Email-Address', when_absent: skip}]",
    "limits: [{name: a, rate: 9/s, key: client-ip, cost: [{match: {methods: [POST]}, cost: 5}, {match: {paths: [/a]}, cost: 9}, {cost: 1}]}]",
    "limits: [{name: a, rate: 1/s, key: ['header:X-A', client-ip], match: {absent: [X-A]}}]",
    "forwarded: {trust: [10.0.0.0/9, 10.192.0.0/10]}",
    "limits: [{name: a, rate: 1/s, key: client-ip, match: {paths: ['/API仕様/**', '/Größeµ/*', '/nº', '/می\u200cخواهم']}}]",
    "contract: {allow_methods: [GET], path_methods: [{allow: [PUT]}]}\nlimits: [{name: a, rate: 1/s, key: client-ip, match: {methods: [PUT]}}]",
    "contract: {known_paths: [/api/**, /health]}\nlimits: [{name: a, rate: 1/s, key: client-ip, match: {paths: ['/a*/x']}, exempt: {paths: [/api/*]}}]",
    "limits: [{name: a, rate: 1/s, key: client-ip, exempt: {cidrs: [0.0.0.0/0]}}]",
    "limits: [{name: a, rate: 1/s, key: client-ip, match: {paths: [/a, /b]}, exempt: {paths: [/a]}}]",
    "limits: [{name: a, rate: 1/s, key: client-ip, match: {headers: {X-A: 'b*'}}, exempt: {headers: {X-A: '*c', X-B: d}}}]",
    "admin: {token: '7Hq-29vK_x'}\nstore: {key_secret: 'weir-production-7Hq29vKx', url: 'redis://:a8Fz92k@h'}",
    "upstream: {servers: ['http://a'], timeouts: {response: 30s}}\ncontract: {rules: [{status: 200-299, headers: []}]}",
    "upstream: {servers: ['http://a'], timeouts: {response: 141s}}",
    "forwarded: {trust: [127.0.0.1]}\nlisten: [{address: 'a:1', mode: decide, front: nginx, on_bad_front: allow}]",
    "limits: [{name: a, rate: 1/s, key: client-ip, max_wait: 30s}]",
    "limits: [{name: a, rate: 15/s, burst: 15}]",
    "limits: [{name: a, rate: 30/m, burst: 1}]",
    "limits: [{name: a, rate: 1/s, key: ['header:X-A', client-ip]}]",
    "limits: [{name: a, rate: 1/s, key: ['header:X-A'], when_absent: share}]",
    "limits: [{name: a, rate: 1/s, key: ['header:X-A'], when_absent: skip}]",
    "limits: [{name: a, rate: 1/s, key: host}]",
    "limits: [{name: a, rate: 1/s, key: const}]",
    "limits: [{name: a, rate: 1/s, key: ['header:X-A', 'client-ip+host']}]",
    "limits: [{name: a, rate: 1/s, key: ['client-ip+path:2', client-ip]}]",
    "limits: [{name: a, rate: 1/s, key: 'client-ip+path:2', when_absent: skip}]",
    "forwarded: {trust: [10.1.0.0/16, 127.0.0.1, 'fd00:1::/32', 192.168.1.0/24]}",
    "limits: [{name: a, rate: 1/s, key: client-ip, match: {paths: [/caf\u00e9/*, '/\u0430\u043f\u0438/v1', '/\u4e2d\u6587-a']}}]",
    "limits: [{name: a, rate: 1/s, key: client-ip, mode: shadow, enforce: 0%}]",
    "forwarded: {trust: [203.0.0.0/8, '2001::/16']}",
]


def warnings(tmp_path, text, environ=None):
    path = tmp_path / "weir.yaml"
    path.write_text(text if "upstream: " in text else f'{text}\nupstream: {{servers: ["http://a"]}}\n')
    found = examine(path, environ or {}).warnings
    return [str(warning).removeprefix(f"{path}:") for warning in found]


def others(found):
    """Than of who pays."""
    return [line for line in found if INVENTED not in line]


@pytest.mark.parametrize(("text", "line"), WARNINGS)
def test_doubt_is_told_with_its_place_and_reason(tmp_path, text, line):
    assert others(warnings(tmp_path, text)) == [line]


@pytest.mark.parametrize(("text", "line"), UNPAID)
def test_hole_in_who_pays_is_told(tmp_path, text, line):
    assert warnings(tmp_path, text) == [line]


@pytest.mark.parametrize("text", PAID)
def test_closed_hole_is_passed_over(tmp_path, text):
    assert warnings(tmp_path, text) == []


@pytest.mark.parametrize("text", WELL_MEANT)
def test_what_is_well_meant_is_passed_over(tmp_path, text):
    assert others(warnings(tmp_path, text)) == []


def test_warnings_come_in_the_order_of_the_file(tmp_path):
    text = "forwarded: {trust: [0.0.0.0/0]}\nlimits: [{name: a, rate: 15/s, burst: 14}]"

    assert [line.partition(":")[0] for line in warnings(tmp_path, text)] == ["1", "2", "2"]


def test_doubt_about_a_variable_names_the_variable(tmp_path):
    (line,) = warnings(tmp_path, "", {"WEIR_FORWARDED__TRUST": '["0.0.0.0/0"]'})

    assert line.startswith("WEIR_FORWARDED__TRUST: warning: forwarded.trust[0]: 0.0.0.0/0 lets ")


def test_no_warning_shows_a_secret(tmp_path):
    found = warnings(
        tmp_path, "admin: {token: 'hunter2'}\nstore: {key_secret: '<hunter2>', url: 'redis://:hunter2@h'}"
    )

    assert len(found) == 3
    assert "hunter2" not in "".join(found)


def test_thousands_of_paths_are_not_compared_one_by_one(tmp_path):
    """A check takes moments, however a config was made."""
    paths = ", ".join(f"/a/{number}/**" for number in range(3000))
    text = f"contract: {{known_paths: [{paths}]}}\nlimits: [{{name: a, rate: 1/s, key: client-ip, match: {{paths: [/b]}}}}]"

    assert warnings(tmp_path, text) == []


# By the name of each doubt, words of its row in the list of warnings.
TOLD = {
    "small_bursts": "is below what the rate allows in one second",
    "trusted_strangers": "holds everybody, a whole private network",
    "unasked_listeners": "a listener decides for nobody",
    "written_by_strangers": "a header that any client can write",
    "odd_letters": "a letter of another alphabet",
    "shares_of_nothing": "is a share of a limit in `mode: shadow`",
    "absent_keys": "a request may carry nothing of it",
    "keys_beside_credentials": "is charged beside a credential as one bucket for all",
    "futile": "the limit never counts a request",
    "example_secrets": "the secret is one of examples",
    "impatience": "is below the 140 s that the built-in contract promises",
    "long_waits": "is longer than `drain.timeout`",
    "invented_credentials": "anybody can invent what it names",
    "given_exemptions": "any client can exempt itself",
    "unseen_fields": "a header that never reaches the service",
    "unseen_hosts": "`upstream.host: upstream` hides the client's",
    "uncounted": "no limit counts by that header",
    "repeated_plan_keys": "a key stands in two plans of one limit",
    "unheard_answers": "all listeners decide for other proxies and see no answers",
    "idle_plans": "no limit names the plan, or nobody has it",
    "replaced_headers": "a field that belongs to the body that is replaced",
}
MORE_ROWS = 1  # `futile` has a second row, for costs


def test_reference_lists_every_warning():
    """A row for each, and no row of none."""
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    table = page.partition("It warns of:\n\n")[2].partition("\n\n")[0].splitlines()[2:]

    assert set(TOLD) == {doubt.__name__ for doubt in DOUBTS}
    assert [words for words in TOLD.values() if sum(words in row for row in table) != 1] == []
    assert len(table) == len(TOLD) + MORE_ROWS
