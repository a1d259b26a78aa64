// Elements from text alone: names come from configs and from traffic, and nothing of them is ever markup.

export const $ = (id) => document.getElementById(id)

export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) {
    if (name === "data") Object.assign(made.dataset, value)
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value)
    else if (name in made && name !== "list") made[name] = value
    else made.setAttribute(name, value)
  }
  made.append(...children.filter((child) => child !== null && child !== undefined))
  return made
}

// Rows by their key: a row that stays is changed and not replaced, so that focus and selection stay too.
export function rows(body, items, keyOf, make, change) {
  const old = new Map([...body.children].map((row) => [row.dataset.key, row]))
  let place = body.firstElementChild
  for (const item of items) {
    const key = keyOf(item)
    let row = old.get(key)
    if (row) old.delete(key)
    else { row = make(item); row.dataset.key = key }
    change(row, item)
    if (row === place) place = place.nextElementSibling
    else body.insertBefore(row, place)
  }
  for (const row of old.values()) row.remove()
}

export function put(element, text) {
  if (element.textContent !== text) element.textContent = text
}

export function kind(element, word) {
  if (word) element.dataset.kind = word
  else delete element.dataset.kind
}

// Shown until it is closed by a button that says so, by Escape, or with the value of the button that was pressed; Enter
// presses the first that submits. What an earlier showing returned is forgotten: Escape would return it again.
export function show(dialog) {
  dialog.returnValue = ""
  for (const button of dialog.querySelectorAll(".closes")) button.onclick = () => dialog.close()
  if (!dialog.open) dialog.showModal()
}

// Pairs of a name and a value in a <dl>.
export function list(element, pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
  while (element.children.length > shown.length) element.lastElementChild.remove()
  shown.forEach(([name, value], index) => {
    const pair = element.children[index] ?? element.appendChild(el("div", {}, el("dt"), el("dd")))
    put(pair.firstElementChild, name)
    put(pair.lastElementChild, String(value))
  })
}
