// The landmarks of the open case, and what can be done with the chosen one.

import { byId, element, svg } from './dom.js'

const WORDS = { mine: 'you', reference: 'reference', model: 'model' }

export class LandmarkList {
  // `actions` has choose(k), state(word), take(layer), clear() and undo(), redo().
  constructor(session, actions) {
    Object.assign(this, { session, actions })
    session.addEventListener('changed', () => this.show())
    session.addEventListener('chosen', () => this.show())
    byId('undo').addEventListener('click', actions.undo)
    byId('redo').addEventListener('click', actions.redo)
  }

  show() {
    const { session } = this
    if (!session.now) return
    const list = byId('landmark-list')
    const rows = session.now.landmarks.map((mark, k) => this.row(mark, k))
    if (list.children.length === rows.length) rows.forEach((row, k) => list.children[k].replaceChildren(...row.children))
    else list.replaceChildren(...rows)
    list.children[session.chosen]?.scrollIntoView({ block: 'nearest' })
    const set = session.now.landmarks.filter((mark) => mark.mine).length
    byId('count').textContent = `${set}/${session.now.landmarks.length} set`
    const steps = session.stepsOf(session.now.number)
    byId('undo').disabled = steps.undo.length === 0
    byId('redo').disabled = steps.redo.length === 0
    byId('undo').title = steps.undo.length ? `Undo: ${steps.undo.at(-1).what} (Z)` : 'Nothing to undo (Z)'
    this.showChosen()
  }

  row(mark, k) {
    const value = this.session.value(k)
    const { unit } = this.session.study
    const state = value.from === 'none' ? 'not annotated'
      : `${value.state}${value.from === 'mine' ? '' : ` (${WORDS[value.from]})`}`
    const bound = mark.model?.bound
    const presence = mark.model?.presence
    const parts = [element('span', { class: `from-${value.from}` }, state)]
    if (presence !== null && presence !== undefined && presence < 0.95) {
      parts.push(element('span', {}, `presence ${Math.round(presence * 100)} %`))
    }
    return element('li', {}, element('button', {
      type: 'button', title: mark.name, onclick: () => this.actions.choose(k),
      'aria-current': k === this.session.chosen ? 'true' : null,
    }, sign(value), element('span', { class: 'name' }, mark.name),
    element('span', { class: 'bound from-model', title: 'error bound of the model' },
      bound === null || bound === undefined ? '' : `±${bound.toFixed(1)} ${unit}`),
    element('span', { class: 'sub' }, ...parts)))
  }

  showChosen() {
    const { session } = this
    const k = session.chosen
    const mark = session.now.landmarks[k]
    if (!mark) return
    const value = session.value(k)
    const { unit } = session.study
    const lines = ['mine', 'reference', 'model'].filter((layer) => mark[layer]).map((layer) => {
      const { state, point } = mark[layer]
      const away = layer !== value.from && value.point.length && point.length && state === 'present' && value.state === 'present'
        ? `${Math.hypot(...point.map((c, i) => c - value.point[i])).toFixed(1)} ${unit} off` : ''
      return element('tr', { class: `from-${layer}` }, element('td', {}, WORDS[layer]),
        element('td', {}, state === 'present' ? point.map((c) => c.toFixed(1)).join(', ') : state),
        element('td', { class: 'quiet' }, away))
    })
    const pressed = (word) => (mark.mine ? mark.mine.state === word : false)
    const state = (word, text, key) => element('button', {
      type: 'button', 'aria-pressed': String(pressed(word)), onclick: () => this.actions.state(word),
      title: `${word} (${key})`,
    }, `${text} `, element('kbd', {}, key))
    byId('chosen').replaceChildren(
      element('strong', {}, mark.name),
      lines.length ? element('table', {}, element('tbody', {}, ...lines)) : element('span', { class: 'quiet' }, 'no point yet'),
      element('div', { class: 'row' }, state('present', 'Present', '1'), state('absent', 'Absent', '2'),
        state('not annotated', 'Not ann.', '3')),
      element('div', { class: 'row' },
        this.button('Model’s', 'M', 'Accept the model’s point', !mark.model, () => this.actions.take('model')),
        this.button('Ref.’s', 'R', 'Accept the reference', !mark.reference, () => this.actions.take('reference')),
        this.button('Clear', '⌫', 'Clear what you set', !mark.mine, () => this.actions.clear())),
    )
  }

  button(text, key, title, disabled, act) {
    return element('button', { type: 'button', title: `${title} (${key})`, disabled, onclick: act }, `${text} `,
      element('kbd', {}, key))
  }
}

// The mark of a landmark in the list, of the same shape as in the image.
function sign(value) {
  const shape = {
    mine: () => svg('path', { d: 'M7 0v5M7 9v5M0 7h5M9 7h5' }),
    reference: () => svg('path', { d: 'M7 1.5L12.5 7 7 12.5 1.5 7z' }),
    model: () => svg('circle', { cx: 7, cy: 7, r: 5 }),
    none: () => svg('circle', { cx: 7, cy: 7, r: 1.5 }),
  }[value.from]
  const drawn = value.state === 'absent' ? svg('path', { d: 'M2.5 2.5l9 9M11.5 2.5l-9 9' })
    : value.state === 'not annotated' && value.from === 'mine' ? svg('path', { d: 'M2 7h10' }) : shape()
  const made = svg('svg', { viewBox: '0 0 14 14', class: `sign from-${value.from}` }, drawn)
  drawn.setAttribute('fill', 'none')
  drawn.setAttribute('stroke', 'currentColor')
  drawn.setAttribute('stroke-width', '1.8')
  return made
}
