// A change that met another one: both are shown, and the reader chooses. Nothing is lost before.

import { byId, element } from './dom.js'

const told = (placement) => (!placement ? 'taken back'
  : placement.state === 'present' ? placement.point.map((c) => c.toFixed(1)).join(', ') : placement.state)

// Settles `detail.settle` with true where the reader's own change is to stand.
export function showConflict(session, detail) {
  const dialog = byId('conflict')
  const choose = (mine) => {
    dialog.close()
    detail.settle(mine)
  }
  const rows = detail.fought.map((name) => element('tr', {}, element('td', {}, name),
    element('td', {}, told(detail.theirs.placements[name])), element('td', {}, told(detail.change.set[name]))))
  const at = new Date(detail.theirs.changed).toLocaleTimeString([], { hour12: false })
  dialog.replaceChildren(
    element('h2', {}, `${session.lines[detail.number].id} was changed in another window`),
    element('p', {}, `At ${at} the same landmark was set elsewhere. Which one is to stand?`),
    element('table', {}, element('thead', {}, element('tr', {}, element('th', {}, 'landmark'),
      element('th', {}, 'there'), element('th', {}, 'here'))), element('tbody', {}, ...rows)),
    element('div', { class: 'row' },
      element('button', { type: 'button', id: 'keep-theirs', onclick: () => choose(false) }, 'Keep the other'),
      element('button', { type: 'button', id: 'keep-mine', onclick: () => choose(true) }, 'Keep mine')),
  )
  dialog.addEventListener('cancel', (event) => event.preventDefault()) // Escape would choose unseen
  dialog.showModal()
  document.activeElement.blur() // no key that was meant for something else chooses
}
