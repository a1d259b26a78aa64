// Draws the report that stands in #data. No part of it becomes markup.
"use strict"

const reports = JSON.parse(document.getElementById("data").textContent)
const root = document.documentElement
const whole = new Intl.NumberFormat("en")
const UNITS = { s: "second", m: "minute", h: "hour", d: "day" }

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(name, value)
  node.append(...children.filter((child) => child !== null))
  return node
}

const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim()
const soft = (name) => `${colour(name)}44`
const percent = (share) => share === 0 ? "0 %" : share < 0.0001 ? "< 0.01 %" : `${(share * 100).toPrecision(share < 0.01 ? 2 : 3)} %`
const plural = (count, word) => `${whole.format(count)} ${word}${count === 1 ? "" : "s"}`
const unitOf = (rate) => UNITS[rate.split("/")[1]] ?? "period"
const utc = (seconds) => uPlot.tzDate(new Date(seconds * 1e3), "Etc/UTC")

// --- what stands at the top ---

function facts() {
  const { requests, skipped, from, to, logs } = reports[0]
  const rows = [["requests", whole.format(requests)], ["logs", whole.format(logs.length)]]
  if (from) rows.push(["from", from.replace("T", " ")], ["to", to.replace("T", " ")])
  if (skipped) rows.push(["lines skipped", whole.format(skipped)])
  document.getElementById("facts").append(...rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))))
  const told = logs.filter((log) => log.problem).map((log) => `${log.name} ${log.problem}.`)
  const notes = [...reports[0].notes.map((note) => `${note}.`), ...told]
  document.getElementById("notes").append(...notes.map((note) => el("p", { class: "note" }, note)))
}

function comparison() {
  const [one, other] = reports.map((report) => new Map(report.limits.map((limit) => [limit.name, limit])))
  const names = [...new Set([...one.keys(), ...other.keys()])]
  const rows = names.map((name) => {
    const [before, after] = [one.get(name), other.get(name)]
    const change = before && after ? after.refused - before.refused : null
    const word = change === null ? "" : change > 0 ? `+${whole.format(change)}` : change < 0 ? `−${whole.format(-change)}` : "the same"
    return el("tr", {}, el("td", {}, name),
      ...[before, after].map((limit) => el("td", {}, limit ? `${limit.rate}, burst ${whole.format(limit.burst)}` : "–")),
      ...[before, after].map((limit) => el("td", {}, limit ? whole.format(limit.refused) : "–")),
      el("td", { class: change > 0 ? "more" : change < 0 ? "less" : null }, word))
  })
  const heads = ["limit", reports[0].config, reports[1].config, "refused before", "refused after", "change"]
  return el("section", { class: "card", "aria-label": "What changes" }, el("h2", {}, "What changes"),
    el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))), el("tbody", {}, ...rows))))
}

// --- one limit ---

function section(limit, plots, from) {
  const isCalm = limit.refused === 0
  const head = el("div", { class: "card" },
    el("div", { class: "head" }, el("h2", {}, limit.name), el("span", { class: "chip" }, `${limit.rate}, burst ${whole.format(limit.burst)}`),
      limit.mode === "shadow" ? el("span", { class: "chip" }, "in shadow") : null,
      el("span", { class: "chip", "data-kind": isCalm ? "good" : "warn" }, isCalm ? "refuses nobody" : `refuses ${percent(limit.refused_share)}`)),
    sentence(limit))
  const node = el("section", { class: "limit", "aria-label": `Limit ${limit.name}` }, head)
  if (!limit.matched) return node
  node.append(tiles(limit), overTime(limit, plots, from), el("div", { class: "pair" }, whatIf(limit, plots), topKeys(limit, plots)))
  return node
}

function sentence(limit) {
  if (!limit.matched) return el("p", { class: "said" }, "It met no request of these logs.")
  const refusing = limit.mode === "shadow" ? "would have refused" : "refuses"
  const count = limit.limited.length + limit.limited_left_out
  return el("p", { class: "said" }, `It ${refusing} `, el("strong", {}, whole.format(limit.refused)), ` of ${plural(limit.matched, "request")}`,
    count ? `, of ${plural(count, "key")} among ${limit.keys_are_estimated ? "about " : ""}${whole.format(limit.keys)}` : "",
    limit.waited ? `, and lets ${whole.format(limit.waited)} wait` : "", ".")
}

function tiles(limit) {
  const tile = (name, figure, small, below) => el("div", { class: "tile" }, el("h3", {}, name),
    el("div", { class: "figure" }, figure, small ? el("small", {}, small) : null), el("p", {}, below))
  const { refuses_nobody: nobody, refuses_one_in_thousand: few } = limit
  const longest = Math.max(0, ...limit.limited.map((key) => key.longest_run))
  return el("div", { class: "tiles" },
    tile("Requests", whole.format(limit.matched), "", limit.exempt ? `${whole.format(limit.exempt)} more are exempt` : "met by this limit"),
    tile("Refused", percent(limit.refused_share), "", longest ? `at most ${plural(longest, "time")} in a row` : "nobody"),
    tile("Nobody is refused from", nobody.rate, `burst ${whole.format(nobody.burst)}`, "a token less of either refuses"),
    tile("One in a thousand from", few.rate, `burst ${whole.format(few.burst)}`, "at most"))
}

function overTime(limit, plots, from) {
  const start = Date.parse(from) / 1000
  const step = plots.step_s
  const times = plots.steps.map((_, number) => start + number * step)
  const all = plots.steps.map(([requests]) => requests / step)
  const refused = plots.steps.map(([, count]) => count / step)
  const full = plots.steps.map(([, , share]) => share * 100)
  const card = el("div", { class: "card" }, el("h3", {}, "Requests a second, and the fullest bucket"),
    el("p", { class: "fine" }, `Steps of ${span(step)}, times in UTC. A bucket at 100 % has no token left. Drag to look closer, double-click to go back.`))
  const cursor = { sync: { key: `${limit.name}${from}` } }
  plot(card, "plot", `Requests a second over time; ${plural(limit.refused, "request")} of ${whole.format(limit.matched)} refused`, (size) => new uPlot({
    ...size, cursor, tzDate: utc, scales: { y: { range: (_, __, high) => [0, Math.max(1, high * 1.08)] } }, axes: axes([{ values: TIMES }, { values: (_, ticks) => ticks.map((tick) => whole.format(tick)) }]),
    series: [{ value: "{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}" },
      { label: "all", stroke: colour("admitted"), fill: colour("admitted-area"), width: 1.5, points: { show: false }, value: (_, value) => figure(value) },
      { label: "refused", stroke: colour("refused"), fill: colour("refused-area"), width: 1.5, points: { show: false }, value: (_, value) => figure(value) }],
  }, [times, all, refused], size.target))
  plot(card, "plot low", "The fullest bucket over time, in per cent of the burst", (size) => new uPlot({
    ...size, cursor, tzDate: utc, scales: { y: { range: (_, __, high) => [0, Math.max(105, high * 1.03)] } },
    axes: axes([{ values: TIMES }, { values: (_, ticks) => ticks.map((tick) => `${tick} %`) }]),
    series: [{ value: "{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}" },
      { label: "fullest bucket", stroke: colour("full"), fill: soft("full"), width: 1.5, points: { show: false }, value: (_, value) => value === null ? "–" : `${value.toFixed(0)} %` }],
    hooks: { draw: [(self) => line(self, "y", 100, colour("edge"), "the limit")] },
  }, [times, full], size.target))
  return card
}

function whatIf(limit, plots) {
  const counts = plots.curve.map(([count]) => count)
  const shares = plots.curve.map(([, , refused]) => refused / limit.matched * 100)
  const now = Number(limit.rate.split("/")[0])
  const enough = counts.at(-1) ?? now
  const card = el("div", { class: "card" }, el("h3", {}, "What if the rate were another one"),
    el("p", { class: "fine" }, "Requests refused by rate, with the burst in the limit's proportion. Asked of this limit alone: what others refuse counts here too."))
  plot(card, "plot tall", "Requests that would be refused, by rate", (size) => new uPlot({
    ...size, scales: { x: { time: false, range: () => [0, Math.max(enough, now) * 1.04] }, y: { range: (_, __, high) => [0, Math.max(high * 1.08, 0.1)] } },
    axes: axes([{ values: (_, ticks) => ticks.map((tick) => whole.format(tick)) }, { values: (_, ticks) => ticks.map((tick) => `${tick} %`) }]),
    series: [{ label: `requests a ${unitOf(limit.rate)}` },
      { label: "refused", stroke: colour("curve"), fill: soft("curve"), width: 2, points: { show: true, size: 6, fill: colour("card"), stroke: colour("curve") }, value: (_, value) => value === null ? "–" : percent(value / 100) }],
    hooks: { draw: [(self) => line(self, "x", now, colour("edge"), "now")] },
  }, [counts, shares], size.target))
  card.append(el("details", {}, el("summary", {}, "As a table"), el("div", { class: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, ...["rate", "burst", "refused", "share"].map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, ...plots.curve.map(([count, burst, refused]) => el("tr", {},
      ...[`${count}/${limit.rate.split("/")[1]}`, whole.format(burst), whole.format(refused), percent(refused / limit.matched)].map((text) => el("td", {}, text)))))))))
  return card
}

function topKeys(limit, plots) {
  const most = Math.max(1, ...plots.busiest.map((key) => key.requests))
  const width = (count) => `width:${(count / most * 100).toFixed(2)}%`
  const rows = plots.busiest.map((key) => el("li", {}, el("span", { class: "hash", title: key.key }, key.key),
    el("span", { class: "bar", "aria-hidden": "true" }, el("i", { style: width(key.requests - key.refused) }), el("i", { style: width(key.refused) })),
    el("span", { class: "count" }, el("b", {}, whole.format(key.requests)), key.refused ? `, ${whole.format(key.refused)} refused` : "")))
  return el("div", { class: "card" }, el("h3", {}, "Busiest keys"), el("p", { class: "fine" }, "By the hash of the key, as in Weir's log."), el("ol", { class: "keys" }, ...rows))
}

// --- drawing ---

// From this step on, what a tick says, and what it says besides where another day begins.
const DAY = "{YYYY}-{MM}-{DD}"
const TIMES = [[86400, DAY, null, null, null, null, null, null, 1], [60, "{HH}:{mm}", `\n${DAY}`, null, `\n${DAY}`, null, null, null, 1],
  [1, "{HH}:{mm}:{ss}", `\n${DAY}`, null, `\n${DAY}`, null, null, null, 1], [0.001, "{HH}:{mm}:{ss}.{fff}", `\n${DAY}`, null, `\n${DAY}`, null, null, null, 1]]

const drawn = []

function plot(card, kind, label, make) {
  const target = el("div", { class: kind, role: "img", "aria-label": label })
  card.append(target)
  drawn.push({ target, make, chart: null })
}

function axes(own) {
  return own.map((axis, number) => ({ stroke: colour("soft"), grid: { stroke: colour("grid"), width: 1 }, ticks: { stroke: colour("grid"), width: 1 }, font: "12px system-ui", size: number ? 58 : 44, ...axis }))
}

function line(self, scale, value, stroke, word) {
  const { ctx, bbox } = self
  const at = Math.round(self.valToPos(value, scale, true))
  const along = scale === "x"
  if (along ? at < bbox.left || at > bbox.left + bbox.width : at < bbox.top || at > bbox.top + bbox.height) return
  ctx.save()
  ctx.strokeStyle = ctx.fillStyle = stroke
  ctx.lineWidth = 1.5 * devicePixelRatio
  ctx.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio])
  ctx.beginPath()
  ctx.moveTo(along ? at : bbox.left, along ? bbox.top : at)
  ctx.lineTo(along ? at : bbox.left + bbox.width, along ? bbox.top + bbox.height : at)
  ctx.stroke()
  ctx.font = `600 ${12 * devicePixelRatio}px system-ui`
  const isNearEnd = along && at > bbox.left + bbox.width - 60 * devicePixelRatio
  ctx.textAlign = along && !isNearEnd ? "left" : "right"
  const beside = 6 * devicePixelRatio
  ctx.fillText(word, along ? at + (isNearEnd ? -beside : beside) : bbox.left + bbox.width - beside, along ? bbox.top + 14 * devicePixelRatio : at - beside)
  ctx.restore()
}

function draw() {
  for (const each of drawn) {
    each.chart?.destroy()
    const legend = each.target.clientWidth < 420 ? 52 : 26
    each.chart = each.make({ width: Math.max(each.target.clientWidth, 120), height: Math.max(each.target.clientHeight - legend, 90), target: each.target })
  }
}

const figure = (value) => value === null || value === undefined ? "–" : value >= 100 ? whole.format(Math.round(value)) : String(Number(value.toPrecision(3)))

function span(seconds) {
  for (const [size, word] of [[86400, "day"], [3600, "hour"], [60, "minute"]]) if (seconds >= size && seconds % size === 0) return plural(seconds / size, word)
  return plural(seconds, "second")
}

// --- light and dark ---

function setTheme(name) {
  root.dataset.theme = name
  const button = document.getElementById("theme")
  button.textContent = name === "dark" ? "Light" : "Dark"
  button.setAttribute("aria-pressed", String(name === "dark"))
  draw()
}

facts()
const main = document.getElementById("main")
if (reports.length > 1) main.append(comparison())
for (const report of reports) {
  if (reports.length > 1) main.append(el("p", { class: "config" }, "With ", el("code", {}, report.config)))
  report.limits.forEach((limit, number) => main.append(section(limit, report.plots[number], report.from)))
  if (!report.limits.length) main.append(el("p", { class: "card" }, `${report.config} has no limit.`))
}
const prefersDark = matchMedia("(prefers-color-scheme: dark)")
setTheme(prefersDark.matches ? "dark" : "light")
prefersDark.addEventListener("change", () => setTheme(prefersDark.matches ? "dark" : "light"))
document.getElementById("theme").addEventListener("click", () => setTheme(root.dataset.theme === "dark" ? "light" : "dark"))
new ResizeObserver(() => { if (drawn[0] && drawn[0].chart?.width !== drawn[0].target.clientWidth) draw() }).observe(main)
