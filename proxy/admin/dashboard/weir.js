// The dashboard: what comes from the stream goes to where it is shown.

import { Charts, spark } from "/assets/charts.js"
import { $, el, kind, list, put, rows, show } from "/assets/dom.js"
import { KeyDialog } from "/assets/keys.js"
import { Stream } from "/assets/stream.js"
import { Troubles } from "/assets/troubles.js"
import { bytes, count, milliseconds, rate, share, span } from "/assets/words.js"

const SHORT = 16 // hexadecimal digits of a key that the access log has too

const charts = new Charts()
const troubles = new Troubles()
const stream = new Stream({ hello, tick, state })
const dialog = new KeyDialog(stream)
let about = { limits: [], verbs: [] } // the last hello
let now = null // the last tick

// --- what comes ---

function hello(told) {
  about = told
  charts.load(told.history)
  troubles.load(told.troubles)
  dialog.know(told.limits, told.verbs)
}

function tick(told) {
  now = told
  charts.add(told.point)
  troubles.add(told.troubles)
  for (const show of [showState, showFacts, showAlarms, showTiles, showKeys, showLimits, showServers, showStore, showItself]) show(told)
}

function state(word) {
  kind($("state"), word === "token" ? "warn" : "bad")
  put($("state"), word === "token" ? "Token needed" : "No connection")
  if (word === "token") askToken(stream.token !== "")
}

// --- the top ---

function showState({ status, figures }) {
  const [word, mood] = figures.weir_draining ? ["Draining", "warn"] : isUp(status.store) ? ["Serving", "good"] : ["Serving, store down", "bad"]
  kind($("state"), mood)
  put($("state"), word)
  document.title = mood === "good" ? "Weir" : `(!) Weir: ${word.toLowerCase()}`
}

function showFacts({ status, figures }) {
  list($("facts"), [
    ["version", about.version + (about.compiled ? "" : ", source build")],
    ["config", status.config?.hash],
    ["up", span(status.uptime ?? 0)],
    ["workers", figures.weir_workers > 1 ? figures.weir_workers : null],
    ["replicas", status.store?.replicas],
  ])
}

function showAlarms({ status, figures }) {
  const alarms = []
  if (!isUp(status.store)) {
    const causes = Object.values(status.store.servers ?? {}).map((server) => server.error).filter(Boolean)
    alarms.push(["bad", "Store down.", causes[0] ?? "Each limit decides as its on_store_error says."])
  }
  const reload = status.config?.last_reload
  if (reload && !reload.successful) alarms.push(["bad", "Bad config file.", `${reload.error} The one before it is in force.`])
  if (figures.weir_draining) alarms.push(["warn", "Draining.", "What runs is finished, nothing new is taken."])
  for (const certificate of certificates(status.tls)) if (certificate.days < 14) alarms.push([certificate.days < 2 ? "bad" : "warn", "Certificate.", `${certificate.setting} expires in ${Math.max(certificate.days, 0).toFixed(0)} days.`])
  const lost = figures.weir_access_log_dropped_total + figures.weir_log_dropped_total
  if (lost) alarms.push(["warn", "Log lines lost.", `${count(lost)} since the start: nobody read them, or the disk was full.`])
  rows($("alarms"), alarms, ([, title]) => title, ([mood]) => el("p", { className: "alarm", data: { kind: mood } }, el("strong"), el("span")), (row, [mood, title, text]) => {
    kind(row, mood)
    put(row.firstElementChild, title)
    put(row.lastElementChild, text)
  })
}

const isUp = (store) => store?.up !== false

function certificates(tls) {
  const found = []
  const walk = (value, setting) => {
    if (!value || typeof value !== "object") return
    if (typeof value.expires === "string" || typeof value.expires === "number") {
      const end = typeof value.expires === "number" ? value.expires * 1000 : Date.parse(value.expires)
      found.push({ setting, days: (end - Date.now()) / 86_400_000 })
    }
    for (const [name, each] of Object.entries(value)) walk(each, /^\d+$/.test(name) ? setting : setting ? `${setting}.${name}` : name)
  }
  walk(tls, "")
  return found
}

// --- the tiles ---

function tile(id, figure, unit, note, values, mood = "") {
  const place = $(id)
  const shown = place.querySelector(".figure")
  if (shown.textContent !== figure + unit) shown.replaceChildren(figure, unit ? el("small", {}, unit) : "")
  put(place.querySelector(".note"), note)
  kind(place, mood)
  spark(place.querySelector(".spark"), values)
}

function showTiles({ point, errors, requests }) {
  const sum = (each) => each[1] === null ? 0 : each.slice(1, 6).reduce((total, part) => total + part, 0)
  const points = charts.points
  const all = sum(point)
  const wrong = (errors.upstream ?? 0) + (errors.weir ?? 0)
  tile("tile-requests", rate(point[1] === null ? null : all), "/s", `${count(requests)} in all`, points.map(sum))
  tile("tile-refused", share(point[2] ?? 0, all), "", `${rate(point[2])}/s`, points.map((each) => each[2]), (point[2] ?? 0) > all / 5 ? "warn" : "")
  tile("tile-errors", share(wrong, all), "", `service ${rate(errors.upstream)}/s, Weir ${rate(errors.weir)}/s`, points.map((each) => each[12]), wrong > all / 20 ? "bad" : wrong ? "warn" : "")
  const [figure, unit] = milliseconds(point[7]).split(" ")
  tile("tile-latency", figure, unit ?? "", `service ${milliseconds(point[9])}, Weir ${milliseconds(point[11])}`, points.map((each) => each[7]))
}

// --- keys ---

function showKeys({ keys }) {
  const wanted = $("key-filter").value.trim().toLowerCase()
  const all = keys.flatMap((seen) => seen.keys.map((key) => ({ ...key, limit: seen.limit, state: seen.state })))
  const shown = all.filter((key) => key.key.startsWith(wanted) || key.limit.toLowerCase().includes(wanted))
  shown.sort((one, other) => (one.state === other.state ? other.count - one.count : one.state === "over" ? -1 : 1))
  rows($("keys"), shown.slice(0, 50), (key) => `${key.limit} ${key.key}`, makeKey, changeKey)
  $("keys-empty").hidden = shown.length > 0
  put($("keys-empty"), all.length ? "No key matches." : "No key has been near its limit in the last minute.")
  const lost = Math.max(0, ...keys.map((seen) => seen.lost))
  put($("keys-error"), lost ? `So many keys are busy that counts may be too small, by ${count(lost)} at most.` : "")
}

function makeKey(key) {
  const act = el("button", { type: "button", className: "small quiet", onclick: () => dialog.open(key) }, "Act", el("span", { className: "unseen" }, ` on key ${key.key.slice(0, SHORT)} of ${key.limit}`))
  const meter = el("div", { className: "bar", role: "meter", ariaLabel: "burst spent", ariaValueMin: "0", ariaValueMax: "100" }, el("i", { className: "spent" }))
  return el("tr", {},
    el("td", {}, el("code", { title: key.key }, key.key.slice(0, SHORT)), el("div", { className: "soft narrow" }, key.limit)),
    el("td", { className: "name wide" }, key.limit), el("td", {}, el("span", { className: "badge" })),
    el("td", { className: "number" }, el("span"), el("span", { className: "wide" })), el("td", { className: "number wide" }), el("td", { className: "wide" }, meter), el("td", { className: "number" }, act))
}

function changeKey(row, key) {
  const [, limit, state, often, since, burst] = row.children
  const isOver = key.state === "over"
  put(limit, key.plan ? `${key.limit}, plan ${key.plan}` : key.limit)
  const shadow = about.limits.find((each) => each.name === key.limit)?.mode === "shadow"
  put(state.firstElementChild, isOver ? (shadow ? "over, in shadow" : "over") : "near")
  kind(state.firstElementChild, isOver ? (shadow ? "" : "bad") : "warn")
  put(often.firstElementChild, count(key.count))
  put(often.lastElementChild, isOver ? (shadow ? " let through" : " refused") : " admitted")
  put(since, span(key.since))
  const percent = Math.round(key.spent * 100)
  const meter = burst.firstElementChild
  meter.setAttribute("aria-valuenow", String(percent))
  meter.firstElementChild.style.width = `${percent}%`
  meter.firstElementChild.toggleAttribute("data-full", percent >= 100)
}

// --- limits ---

function showLimits({ limits }) {
  const shown = about.limits.map((limit) => ({ ...limit, figures: limits[limit.name] ?? [] }))
  rows($("limits"), shown, (limit) => limit.name, makeLimit, changeLimit)
  $("limits-empty").hidden = shown.length > 0
}

function makeLimit() {
  const cells = ["", "", " wide", " wide", " wide", "", ""].map((more) => el("td", { className: `number${more}` }))
  const bar = el("div", { className: "bar", ariaHidden: "true" }, el("i", { className: "admitted" }), el("i", { className: "refused" }), el("i", { className: "shadow" }))
  return el("tr", {}, el("th", { scope: "row" }, el("span"), " ", el("span", { className: "badge" }), el("div", { className: "soft" })), el("td", {}, el("span"), el("div", { className: "soft" })), el("td", { className: "wide" }, bar), ...cells)
}

function changeLimit(row, limit) {
  const [name, terms, share_, ...cells] = row.children
  const [admitted, refused, shadow, , over, near, waiting, underWay] = limit.figures
  const [title, badge, match] = name.children
  put(title, limit.name)
  put(badge, limit.mode === "shadow" ? "shadow" : "")
  badge.hidden = limit.mode !== "shadow"
  put(match, limit.match || limit.key.join(", "))
  put(terms.firstElementChild, limit.concurrency ? `${count(limit.concurrency)} at once` : limit.rate ?? "")
  put(terms.lastElementChild, limit.burst ? `burst ${count(limit.burst)}` : "")
  const parts = [admitted, refused, shadow].map((part) => part ?? 0)
  const all = parts.reduce((sum, part) => sum + part, 0)
  ;[...share_.firstElementChild.children].forEach((part, index) => { part.style.width = all ? `${(parts[index] / all) * 100}%` : "0" })
  const texts = [rate(admitted), rate(refused), rate(shadow), waiting ?? "–", underWay ?? "–", over ?? 0, near ?? 0].map(String)
  texts.forEach((text, index) => {
    put(cells[index], text)
    cells[index].classList.toggle("nought", text === "0" || text === "–")
  })
  cells[1].classList.toggle("warm", refused > 0)
  cells[5].classList.toggle("hot", over > 0)
  cells[6].classList.toggle("warm", near > 0)
}

// --- the service, the store, Weir itself ---

const MOODS = { serving: "good", returning: "warn", ejected: "bad", unhealthy: "bad" }

function showServers({ status, figures }) {
  const servers = status.upstream ?? []
  rows($("servers"), servers, (server) => `${server.server} ${server.address}`,
    () => el("tr", {}, el("th", { scope: "row" }, el("span"), el("div", { className: "soft" })), el("td", {}, el("span", { className: "badge" })), el("td", { className: "number" }), el("td", { className: "number" })),
    (row, server) => {
      const [name, state, busy, idle] = row.children
      put(name.firstElementChild, server.server)
      put(name.lastElementChild, server.server.includes(server.address) ? "" : server.address)
      put(state.firstElementChild, server.state)
      kind(state.firstElementChild, MOODS[server.state])
      put(busy, count(server.active))
      put(idle, count(server.idle))
    })
  const waiting = figures.weir_upstream_waiting
  $("waiting").hidden = !waiting
  put($("waiting"), `${count(waiting)} waiting`)
  kind($("waiting"), "warn")
}

function showStore({ status, calls, figures }) {
  const store = status.store ?? {}
  const keys = Object.values(store.keys ?? {}).reduce((sum, each) => sum + each, 0)
  const isMemory = store.kind === "memory"
  list($("store"), [
    ["Kind", isMemory ? "memory of this process" : store.kind],
    ["Address", store.url],
    ["State", isMemory ? null : isUp(store) ? "up" : "down"],
    ["Outages since the start", isMemory ? null : count(figures.weir_store_outages_total)],
    ["Calls", isMemory ? null : `${rate(calls.rate)}/s`],
    ["Time of a call, p99", isMemory ? null : milliseconds(calls.p99)],
    ["Charges in a call", isMemory ? null : calls.batch ?? "–"],
    ["Keys remembered here", count(keys)],
    ["Replicas", store.replicas],
  ])
}

let cpu = null

function showItself({ status, figures, point }) {
  const connections = status.connections ?? {}
  const before = cpu
  cpu = { at: point[0], seconds: figures.process_cpu_seconds_total }
  const busy = before && cpu.at > before.at ? (cpu.seconds - before.seconds) / (cpu.at - before.at) : null
  list($("itself"), [
    ["Clients connected", `${count((connections.downstream_active ?? 0) + (connections.downstream_idle ?? 0))} (${count(connections.downstream_active ?? 0)} active)`],
    ["Connections to servers", `${count((connections.upstream_active ?? 0) + (connections.upstream_idle ?? 0))} (${count(connections.upstream_active ?? 0)} busy)`],
    ["Processors busy", busy === null ? "–" : busy.toFixed(2)],
    ["Memory", bytes(figures.process_resident_memory_bytes)],
    ["Workers", Array.isArray(status.workers) ? `${status.workers.filter((worker) => worker.ready).length} of ${status.workers.length} ready, ${count(figures.weir_worker_restarts_total)} restarts` : "1"],
    ["Config read", status.config?.last_reload ? `${span(Date.now() / 1000 - status.config.last_reload.at)} ago` : null],
    ["Config file", status.config?.file],
    ...certificates(status.tls).map(({ setting, days }) => [`Certificate ${setting}`, `${days.toFixed(0)} days left`]),
  ])
}

// --- what one can do ---

function askToken(isWrong) {
  put($("token-wrong"), isWrong ? "Weir does not accept this token." : "")
  show($("token-dialog"))
}

$("token").addEventListener("click", () => askToken(false))
$("token-dialog").addEventListener("close", () => {
  const token = $("token-value").value.trim()
  $("token-value").value = ""
  if ($("token-dialog").returnValue !== "use") return
  stream.token = token
  stream.start()
})
$("by-credential").addEventListener("click", () => dialog.open(null))
$("key-filter").addEventListener("input", () => now && showKeys(now))

const THEMES = ["auto", "light", "dark"]
const dark = matchMedia("(prefers-color-scheme: dark)")
let theme = "auto"

function applyTheme() {
  document.documentElement.dataset.theme = theme === "auto" ? (dark.matches ? "dark" : "light") : theme
  put($("theme"), `Theme: ${theme}`)
  charts.restyle()
}

$("theme").addEventListener("click", () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]
  applyTheme()
})
dark.addEventListener("change", applyTheme)
applyTheme()
stream.start()
