// What is done to one key of a limit, live: by its hash from the table, or by the credential itself.

import { $, el, kind, list, put, show } from "/assets/dom.js"

const TEXTS = { look: "Look", reset: "Give tokens back", grant: "Grant more", block: "Block", release: "Release" }

export class KeyDialog {
  constructor(stream) {
    this.stream = stream
    this.limits = []
    this.verbs = []
    this.key = null
    $("key-form").addEventListener("submit", (event) => this.submitted(event))
    $("key-limit").addEventListener("change", () => this.offerEntries())
    $("key-entry").addEventListener("change", () => this.askValues())
    $("key-dialog").addEventListener("close", () => $("key-values").replaceChildren()) // credentials
    $("key-verbs").addEventListener("change", () => this.offerTerms())
  }

  know(limits, verbs) {
    this.limits = limits
    this.verbs = verbs
  }

  open(key) {
    this.key = key
    $("key-named").hidden = !key
    $("key-asked").hidden = Boolean(key)
    put($("key-title"), key ? "Act on a key" : "Act on a client by its credential")
    if (key) list($("key-facts"), [["Limit", key.limit], ["Key", key.key]])
    else {
      $("key-limit").replaceChildren(...this.limits.map((limit) => el("option", { value: limit.name }, limit.name)))
      this.offerEntries()
    }
    const choices = this.verbs.map((verb, index) => el("label", {}, el("input", { type: "radio", name: "verb", value: verb, checked: index === 0 }), TEXTS[verb] ?? verb))
    $("key-verbs").replaceChildren($("key-verbs").firstElementChild, ...choices)
    this.offerTerms()
    this.answer("", "")
    show($("key-dialog"))
  }

  offerEntries() {
    const limit = this.limits.find((each) => each.name === $("key-limit").value)
    this.entries = limit?.parts ?? []
    $("key-entry").replaceChildren(...this.entries.map((parts, index) => el("option", { value: index }, parts.join("+"))))
    this.askValues()
  }

  // A joined entry has a value for each of its parts.
  askValues() {
    const parts = this.entries[$("key-entry").value] ?? []
    const fields = parts.flatMap((part, index) => [
      el("label", { htmlFor: `key-value-${index}` }, parts.length > 1 ? `Value of ${part}` : "Its value"),
      el("input", { id: `key-value-${index}`, type: "password", autocomplete: "off", spellcheck: false, data: { part } }),
    ])
    $("key-values").replaceChildren(...fields)
  }

  get named() {
    if (this.key) return { key: this.key.key }
    return Object.fromEntries([...document.querySelectorAll("#key-values input")].map((field) => [field.dataset.part, field.value]))
  }

  get verb() {
    return $("key-form").elements.verb?.value ?? ""
  }

  offerTerms() {
    for (const term of document.querySelectorAll(".term")) term.hidden = !term.dataset.verbs.split(" ").includes(this.verb)
  }

  async submitted(event) {
    if (event.submitter?.value !== "do") return
    event.preventDefault()
    const limit = this.key ? this.key.limit : $("key-limit").value
    const body = this.named
    for (const term of document.querySelectorAll(".term:not([hidden]) input")) {
      const value = term.value.trim()
      if (value) body[term.id.slice(4)] = term.id === "key-burst" ? Number(value) : value
    }
    $("key-do").disabled = true
    try {
      const { ok, told } = await this.stream.apply(limit, this.verb, body)
      this.answer(ok ? "good" : "bad", ok ? said(told) : told)
    } catch {
      this.answer("bad", "No connection.")
    }
    $("key-do").disabled = false
  }

  answer(mood, text) {
    kind($("key-answer"), mood)
    put($("key-answer"), text)
  }
}

function said(told) {
  return Object.entries(told).filter(([, value]) => value !== null).map(([name, value]) => `${name.replaceAll("_", " ")}: ${value}`).join("\n")
}
