// Small ways to build and find elements. Text is always set as text: names of landmarks are data.

export const byId = (id) => document.getElementById(id)

export function element(name, given = {}, ...children) {
  const made = document.createElement(name)
  for (const [key, value] of Object.entries(given)) {
    if (key.startsWith('on')) made.addEventListener(key.slice(2), value)
    else if (key === 'class') made.className = value
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? '' : value)
  }
  made.append(...children.filter((child) => child !== null && child !== undefined))
  return made
}

export function svg(name, given, ...children) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name)
  for (const [key, value] of Object.entries(given)) made.setAttribute(key, value)
  made.append(...children)
  return made
}

let fading = 0
export function toast(text) {
  const shown = byId('toast')
  shown.textContent = text
  shown.classList.add('on')
  clearTimeout(fading)
  fading = setTimeout(() => shown.classList.remove('on'), 2600)
}
