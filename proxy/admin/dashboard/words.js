// Numbers as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 })

export const count = (number) => whole.format(number)

export function rate(number) {
  if (number === null || number === undefined) return "–"
  if (number === 0) return "0"
  if (number < 10) return number.toFixed(number < 1 ? 2 : 1)
  return whole.format(number)
}

export function share(part, all) {
  if (!all) return "0 %"
  const percent = (part / all) * 100
  return `${percent === 0 ? "0" : percent < 0.1 ? "< 0.1" : percent < 10 ? percent.toFixed(1) : percent.toFixed(0)} %`
}

export function milliseconds(number) {
  if (number === null || number === undefined) return "–"
  if (number >= 10_000) return `${(number / 1000).toFixed(0)} s`
  if (number >= 1000) return `${(number / 1000).toFixed(1)} s`
  return `${number >= 100 ? number.toFixed(0) : number >= 10 ? number.toFixed(1) : number.toFixed(2)} ms`
}

export function span(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`
  return `${Math.floor(seconds / 86_400)} days`
}

export function bytes(number) {
  return number >= 1 << 30 ? `${(number / (1 << 30)).toFixed(1)} GiB` : `${(number / (1 << 20)).toFixed(0)} MiB`
}

export function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString("en-GB")
}
