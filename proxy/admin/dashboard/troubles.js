// The last exchanges that went wrong, and the search among them.

import { $, el, kind, put, rows } from "/assets/dom.js"
import { clock, milliseconds } from "/assets/words.js"

const KEPT = 800, SHOWN = 50
const MOODS = { redacted: "bad", faulted: "bad", refused: "warn", abandoned: "" }

export class Troubles {
  constructor() {
    this.all = []
    for (const [id, word] of [["find", "input"], ["kind", "change"]]) $(id).addEventListener(word, () => this.draw())
  }

  load(troubles) {
    this.all = troubles
    this.draw()
  }

  add(troubles) {
    if (!troubles.length) return
    const known = new Set(this.all.map(keyOf))
    this.all = [...this.all, ...troubles.filter((trouble) => !known.has(keyOf(trouble)))].slice(-KEPT)
    this.draw()
  }

  draw() {
    const id = $("find").value.trim().toLowerCase(), wanted = $("kind").value
    const found = this.all.filter((trouble) => (!wanted || trouble.kind === wanted) && trouble.request_id.toLowerCase().includes(id)).reverse()
    rows($("troubles"), found.slice(0, SHOWN), keyOf, make, (row) => row.classList.toggle("found", Boolean(id)))
    $("troubles-empty").hidden = found.length > 0
    const remark = id ? "No such request among the last that went wrong. If it went well, or a limit refused it, the access log has it." : "Nothing of this kind has gone wrong so far."
    put($("troubles-empty"), this.all.length ? remark : id ? remark : "Nothing has gone wrong so far.")
  }
}

const keyOf = (trouble) => `${trouble.request_id} ${trouble.mark}`

function make(trouble) {
  const badge = el("span", { className: "badge" }, trouble.kind)
  kind(badge, MOODS[trouble.kind])
  const request = `${trouble.method} ${trouble.target}`
  const took = trouble.upstream_ms === undefined ? "" : ` of which the service ${milliseconds(trouble.upstream_ms)}`
  return el("tr", {},
    el("td", { title: new Date(trouble.time * 1000).toISOString() }, clock(trouble.time)), el("td", {}, badge),
    el("td", { className: "number" }, String(trouble.status || "–")),
    el("td", { className: "target", title: request }, request, el("div", { className: "soft" }, trouble.client)),
    el("td", { className: "wide" }, cause(trouble)), el("td", { className: "wide name" }, trouble.server ?? "–"),
    el("td", { className: "number", title: `${milliseconds(trouble.duration_ms)}${took}` }, milliseconds(trouble.duration_ms)),
    el("td", {}, el("code", {}, trouble.request_id)))
}

function cause(trouble) {
  if (trouble.redacted_status) return `the service said ${trouble.redacted_status}`
  return (trouble.fault ?? "").replaceAll("_", " ")
}
