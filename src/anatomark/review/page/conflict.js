// A change that conflicts with another one: both are shown, and the user chooses.

import { byId, element } from './dom.js'

const text = (placement) => (!placement ? 'cleared'
  : placement.state === 'present' ? placement.point.map((c) => c.toFixed(1)).join(', ') : placement.state)

// Resolves `detail.settle` with true if the user keeps their own change.
export function showConflict(session, detail) {
  const dialog = byId('conflict')
  const choose = (mine) => {
    dialog.close()
    detail.settle(mine)
  }
  const rows = detail.fought.map((name) => element('tr', {}, element('td', {}, name),
    element('td', {}, text(detail.theirs.placements[name])), element('td', {}, text(detail.change.set[name]))))
  const at = new Date(detail.theirs.changed).toLocaleTimeString([], { hour12: false })
  dialog.replaceChildren(
    element('h2', {}, `${session.lines[detail.number].id} was changed in another window`),
    element('p', {}, `At ${at} the same landmark was set elsewhere. Which one do you want to keep?`),
    element('table', {}, element('thead', {}, element('tr', {}, element('th', {}, 'landmark'),
      element('th', {}, 'other window'), element('th', {}, 'this window'))), element('tbody', {}, ...rows)),
    element('div', { class: 'row' },
      element('button', { type: 'button', id: 'keep-theirs', onclick: () => choose(false) }, 'Keep the other one'),
      element('button', { type: 'button', id: 'keep-mine', onclick: () => choose(true) }, 'Keep mine')),
  )
  dialog.addEventListener('cancel', (event) => event.preventDefault()) // Escape would choose without showing it
  dialog.showModal()
  document.activeElement.blur() // so that a key press meant for something else does not choose
}
