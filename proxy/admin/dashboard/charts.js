// Two charts by uPlot over the same time, redrawn only with what came.

import { $, el, put } from "/assets/dom.js"
import { milliseconds, rate } from "/assets/words.js"

export const OUTCOMES = ["served", "refused", "faulted", "abandoned", "tunnelled"]
const LINES = [ // by their place in a point: the time, the outcomes, then p50 and p99 of each duration
  { at: 7, name: "all p99", colour: "all" },
  { at: 9, name: "service p99", colour: "service" }, { at: 8, name: "service p50", colour: "service", dash: [4, 4] },
  { at: 11, name: "Weir p99", colour: "own" }, { at: 10, name: "Weir p50", colour: "own", dash: [4, 4] },
]

const LEAST_SECONDS = 60

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()

export class Charts {
  constructor() {
    this.points = []
    this.seconds = 300
    this.made = []
    new ResizeObserver(() => this.resize()).observe($("outcomes"))
    for (const button of document.querySelectorAll("[data-span]")) button.addEventListener("click", () => this.show(Number(button.dataset.span)))
  }

  show(seconds) {
    this.seconds = seconds
    for (const button of document.querySelectorAll("[data-span]")) button.setAttribute("aria-pressed", String(Number(button.dataset.span) === seconds))
    this.draw()
  }

  load(history) {
    this.points = history
    this.draw()
  }

  add(point) {
    if (this.points.at(-1)?.[0] >= point[0]) return
    this.points.push(point)
    if (this.points.length > 900) this.points.shift()
    this.draw()
  }

  // The colours are the theme's.
  restyle() {
    for (const chart of this.made) chart.destroy()
    this.made = []
    this.draw()
  }

  resize() {
    if (!this.made.length) return
    this.made[0].setSize(this.size("outcomes"))
    this.made[1].setSize(this.size("latency"))
  }

  size(id) {
    return { width: Math.max($(id).clientWidth, 120), height: Math.max($(id).clientHeight, 120) }
  }

  draw() {
    if (!this.made.length) this.made = [this.outcomes(), this.latency()]
    const points = this.points
    const times = points.map((point) => point[0])
    const stacked = []
    for (let index = OUTCOMES.length; index >= 1; index--) stacked.push(points.map((point) => point[1] === null ? null : point.slice(1, index + 1).reduce((sum, each) => sum + each, 0)))
    this.made[0].setData([times, ...stacked])
    this.made[1].setData([times, ...LINES.map((line) => points.map((point) => point[line.at] ?? null))])
    this.legends(points.at(-1))
  }

  legends(point) {
    if (!point) return
    const outcomes = OUTCOMES.map((name, index) => [name, `${rate(point[index + 1])}/s`, name, false])
    this.legend($("outcomes-legend"), outcomes)
    this.legend($("latency-legend"), LINES.map((line) => [line.name, milliseconds(point[line.at]), line.colour, Boolean(line.dash)]))
  }

  legend(place, entries) {
    entries.forEach(([name, value, hue, dash], index) => {
      let entry = place.children[index]
      if (!entry) {
        const swatch = el("i", { className: "swatch" })
        if (dash) swatch.dataset.dash = ""
        entry = place.appendChild(el("span", {}, swatch, `${name} `, el("b")))
      }
      const swatch = entry.firstElementChild
      if (dash) swatch.style.borderColor = colour(hue)
      else swatch.style.background = colour(hue)
      put(entry.lastElementChild, value)
    })
  }

  outcomes() {
    const names = [...OUTCOMES].reverse()
    const series = names.map((name) => ({ label: name, stroke: colour(name), fill: `${colour(name)}`, width: 0, points: { show: false } }))
    return this.chart("outcomes", series, (value) => rate(value))
  }

  latency() {
    const series = LINES.map((line) => ({ label: line.name, stroke: colour(line.colour), width: line.dash ? 1.25 : 1.75, dash: line.dash, points: { show: false }, spanGaps: false }))
    return this.chart("latency", series, (value) => milliseconds(value))
  }

  chart(id, series, text) {
    const axis = { stroke: colour("soft"), grid: { stroke: colour("grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" }
    const x = () => {
      const last = this.points.at(-1)?.[0] ?? Date.now() / 1000, first = this.points[0]?.[0] ?? last
      return [Math.min(Math.max(first, last - this.seconds), last - LEAST_SECONDS), last]
    }
    const y = (_, low, high) => [0, high > 0 ? high * 1.1 : 1]
    const options = {
      ...this.size(id), legend: { show: false }, cursor: { show: false }, padding: [8, 6, 0, 0],
      scales: { x: { time: true, range: x }, y: { range: y } },
      axes: [
        { ...axis, space: 70, size: 30, values: (_, ticks) => ticks.map((tick) => new Date(tick * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: this.seconds <= 300 ? "2-digit" : undefined })) },
        { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => (tick === 0 ? "0" : text(tick))) },
      ],
      series: [{}, ...series],
    }
    return new window.uPlot(options, [[], ...series.map(() => [])], $(id))
  }
}

// A line of the last two minutes under a tile's figure.
export function spark(svg, values) {
  const shown = values.slice(-120).map((value) => value ?? 0)
  const most = Math.max(...shown, 0.0001)
  const step = 100 / Math.max(shown.length - 1, 1)
  const line = shown.map((value, index) => `${(index * step).toFixed(2)},${(22 - (value / most) * 19).toFixed(2)}`)
  if (!svg.firstChild) for (const name of ["area", "line"]) {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path")
    path.setAttribute("class", name)
    svg.append(path)
  }
  if (shown.length < 2) return
  svg.firstChild.setAttribute("d", `M0,24 L${line.join(" L")} L100,24 Z`)
  svg.lastChild.setAttribute("d", `M${line.join(" L")}`)
}
