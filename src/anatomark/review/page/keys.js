// The keys, and the list of them.

import { byId, element } from './dom.js'

export const KEYS = [
  ['N', 'next case', 'nextCase'], ['B', 'previous case', 'lastCase'], ['A', 'accept the case', 'accept'],
  ['↓ / J', 'next landmark', 'nextLandmark'], ['↑ / K', 'previous landmark', 'lastLandmark'],
  ['1', 'present', 'present'], ['2', 'absent', 'absent'], ['3', 'not annotated', 'notAnnotated'],
  ['P', 'turn placing by click on or off', 'placing'], ['Enter', 'set where the slices cross (3D)', 'here'],
  ['M', 'accept the model’s point', 'takeModel'], ['R', 'accept the reference', 'takeReference'],
  ['Backspace', 'clear what you set', 'clear'], ['Z', 'undo', 'undo'], ['Shift+Z', 'redo', 'redo'],
  ['G', 'predict this case', 'predict'], ['C', 'next contrast', 'contrast'],
  ['+ / -', 'zoom', 'zoomIn'], ['0', 'whole image', 'fit'], ['L', 'show or hide names', 'labels'],
  ['Esc', 'cancel dragging', 'letGo'], ['?', 'show this list', 'help'],
]
const MOUSE = [
  ['drag a mark', 'move the landmark'], ['Shift+click', 'set the chosen landmark'],
  ['click', 'move the slices (3D)'], ['left drag', 'move the image (2D), turn (3D view)'],
  ['right drag', 'window and level'], ['wheel', 'zoom (2D), slices (3D)'], ['Ctrl+wheel', 'zoom (3D)'],
]
const NAMED = {
  n: 'nextCase', PageDown: 'nextCase', b: 'lastCase', PageUp: 'lastCase', a: 'accept', ArrowDown: 'nextLandmark',
  j: 'nextLandmark', ArrowUp: 'lastLandmark', k: 'lastLandmark', 1: 'present', 2: 'absent', 3: 'notAnnotated', p: 'placing',
  Enter: 'here', m: 'takeModel', r: 'takeReference', Backspace: 'clear', Delete: 'clear', z: 'undo', Z: 'redo', y: 'redo',
  g: 'predict', c: 'contrast', '+': 'zoomIn', '=': 'zoomIn', '-': 'zoomOut', 0: 'fit', l: 'labels', Escape: 'letGo', '?': 'help',
}
// actions that repeat while the key is held down
const REPEATED = ['nextLandmark', 'lastLandmark', 'zoomIn', 'zoomOut']

export function listen(actions) {
  window.addEventListener('keydown', (event) => {
    if (document.querySelector('dialog[open]')) return
    const typing = event.target.matches?.('input, textarea, select')
    if (typing) {
      if (event.key === 'Escape') event.target.blur()
      return
    }
    const command = event.ctrlKey || event.metaKey
    if (command && !['z', 'Z', 'y'].includes(event.key)) return
    if (event.altKey) return
    const pressed = event.key.length === 1 && event.key !== 'Z' ? event.key.toLowerCase() : event.key
    const name = event.shiftKey && pressed === 'z' ? 'redo' : NAMED[pressed]
    if (event.target.closest?.('button') && (event.key === 'Enter' || event.key === ' ')) return
    if (event.target.id === 'gl') event.stopPropagation() // NiiVue has keys of its own
    if (!name || !actions[name]) return
    event.preventDefault()
    event.stopPropagation()
    if (event.repeat && !REPEATED.includes(name)) return
    actions[name]()
  }, { capture: true })
}

export function showKeys() {
  const dialog = byId('keys')
  const line = ([key, what]) => element('div', {}, element('span', {}, ...key.split(' / ').flatMap((part, i) =>
    [i ? ' ' : '', element('kbd', {}, part)])), element('span', {}, what))
  dialog.replaceChildren(
    element('h2', {}, 'Keys and mouse'),
    element('div', { class: 'columns' }, ...KEYS.map(line), ...MOUSE.map(line)),
    element('p', { class: 'quiet' }, 'Every change is saved at once. Accepting a case also accepts the model’s points of '
      + 'landmarks that neither you nor the reference has set; undo reverses it.'),
    element('div', { class: 'row' }, element('button', { type: 'button', onclick: () => dialog.close() }, 'Close')),
  )
  dialog.showModal()
}
