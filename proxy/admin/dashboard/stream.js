// The server's events, by fetch instead of EventSource, which could not carry the token.
// While the page is hidden for long, nothing is asked: a tab that is forgotten costs nothing.

const HIDDEN_MS = 60_000, PAUSES_MS = [500, 1000, 2000, 5000], SILENCE_MS = 10_000

export class Stream {
  constructor(on) {
    this.on = on // hello, tick, state
    this.token = ""
    this.failures = 0
    this.stop = null
    document.addEventListener("visibilitychange", () => this.seen())
  }

  start() {
    this.stop?.abort()
    this.stop = new AbortController()
    this.run(this.stop.signal)
  }

  seen() {
    clearTimeout(this.leaving)
    if (document.hidden) this.leaving = setTimeout(() => { this.stop?.abort(); this.stop = null }, HIDDEN_MS)
    else if (!this.stop) this.start()
  }

  headers() {
    return this.token ? { Authorization: `Bearer ${this.token}` } : {}
  }

  async run(signal) {
    while (!signal.aborted) {
      try {
        if (!this.token && await this.wantsToken(signal)) return this.on.state("token")
        const response = await fetch("/events", { headers: this.headers(), signal, cache: "no-store", credentials: "omit" })
        if (response.status === 401) return this.on.state("token")
        if (!response.ok) throw new Error(`${response.status}`)
        await this.read(response.body, signal)
      } catch (error) {
        if (signal.aborted) return
      }
      this.on.state("lost")
      const pause = PAUSES_MS[Math.min(this.failures++, PAUSES_MS.length - 1)]
      await new Promise((resolve) => setTimeout(resolve, pause))
    }
  }

  // Strangers learn from the probe that Weir is ready and nothing else: then a token is needed.
  async wantsToken(signal) {
    const response = await fetch("/readyz", { signal, cache: "no-store", credentials: "omit" })
    return Object.keys(await response.json()).length < 2
  }

  async read(body, signal) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader()
    let buffer = ""
    for (;;) {
      const { value, done } = await this.within(reader.read(), reader)
      if (done || signal.aborted) return
      buffer += value
      const messages = buffer.split("\n\n")
      buffer = messages.pop()
      for (const message of messages) this.dispatch(message)
    }
  }

  within(reading, reader) {
    // A server that is cut off sends no end: who is silent for long is taken for gone.
    let timer
    const silence = new Promise((_, reject) => { timer = setTimeout(() => { reader.cancel().catch(() => {}); reject(new Error("silent")) }, SILENCE_MS) })
    return Promise.race([reading, silence]).finally(() => clearTimeout(timer))
  }

  dispatch(message) {
    const [, name, data] = /^event: (\w+)\ndata: (.*)$/s.exec(message) ?? []
    if (!name) return
    this.failures = 0
    this.on[name]?.(JSON.parse(data))
  }

  // What is done to a key: the server's answer, or a sentence about why there is none.
  async apply(limit, verb, body) {
    const response = await fetch(`/limits/${encodeURIComponent(limit)}/${verb}`, {
      method: "POST", headers: { ...this.headers(), "Content-Type": "application/json" }, body: JSON.stringify(body),
      credentials: "omit",
    })
    const told = await response.json().catch(() => ({}))
    return { ok: response.ok, told: response.ok ? told : told.detail ?? told.title ?? `status ${response.status}` }
  }
}
