// The list of cases, sorted when the page opens and when the user changes the order.

import { byId, element } from './dom.js'

const STATES = {
  open: (line) => line.accepted === null,
  accepted: (line) => line.accepted !== null,
  untouched: (line) => line.revision === 0,
  work: (line) => line.revision > 0 && line.accepted === null,
  note: (line) => line.note,
}
// letters of a landmark's state, as the server sends them
const LETTERS = { mine: 'PAN', model: 'mx', absent: 'Aax', none: '-N' }

const UNSUITABLE = 'the points do not lie as in the training images: look at the image first'

export class CaseList {
  constructor(session, open) {
    this.session = session
    this.open = open
    this.rows = new Map()
    const { study } = session
    fill(byId('by-split'), [['', 'all splits'], ...study.splits.map((s) => [s, s])])
    fill(byId('by-landmark'), [['', 'any landmark'], ...study.landmarks.map((name, k) => [String(k), name])])
    byId('by-split').hidden = study.splits.length === 0
    for (const id of ['search', 'by-split', 'by-state', 'by-landmark']) {
      byId(id).addEventListener('input', () => this.show())
    }
    byId('sort').addEventListener('input', () => {
      this.sort()
      this.show()
    })
    session.addEventListener('line', (event) => this.refresh(event.detail))
    session.addEventListener('opened', () => this.mark())
    this.sort()
    this.show()
  }

  // Unsuitable images, then by the largest error bound, then cases without one, then accepted ones; kept until the user
  // sorts again.
  sort() {
    const lines = this.session.lines
    const byNeed = byId('sort').value === 'need'
    const rank = (line) => (line.accepted !== null ? 3 : line.unsuitable ? 0 : line.need === null ? 2 : 1)
    this.order = lines.map((_, number) => number)
    if (byNeed) {
      this.order.sort((a, b) => {
        const [p, q] = [lines[a], lines[b]]
        return rank(p) - rank(q) || (q.need ?? 0) - (p.need ?? 0)
          || Number(p.revision > 0) - Number(q.revision > 0) || a - b
      })
    }
  }

  fits(line) {
    const split = byId('by-split').value
    const state = byId('by-state').value
    const landmark = byId('by-landmark').value
    const search = byId('search').value.trim().toLowerCase()
    if (split && line.split !== split) return false
    if (search && !`${line.id} ${line.subject}`.toLowerCase().includes(search)) return false
    const letters = landmark === '' ? [...line.states] : [line.states[Number(landmark)]]
    if (state in LETTERS) return letters.some((letter) => LETTERS[state].includes(letter))
    if (landmark !== '' && state === '') return letters[0] !== '-'
    return state === '' || STATES[state](line)
  }

  show() {
    const list = byId('case-list')
    this.shown = this.order.filter((number) => this.fits(this.session.lines[number]))
    this.rows = new Map(this.shown.map((number) => [number, this.row(number)]))
    list.replaceChildren(...this.rows.values())
    if (!this.shown.length) list.append(element('li', { class: 'empty' }, 'No case fits these filters.'))
    this.mark()
    this.showProgress()
  }

  row(number) {
    const line = this.session.lines[number]
    const { unit } = this.session.study
    const right = line.accepted !== null ? element('span', { class: 'tick', title: 'accepted' }, '✓')
      : line.unsuitable ? element('span', { class: 'need', title: UNSUITABLE }, 'unsuitable image')
      : line.need !== null ? element('span', { class: 'need', title: 'largest error bound' }, `±${line.need.toFixed(1)} ${unit}`)
        : null
    const set = [...line.states].filter((letter) => LETTERS.mine.includes(letter)).length
    const parts = [
      line.split, set ? `${set} of ${line.states.length} set` : 'nothing set', line.note ? 'note' : null,
    ].filter((part) => part)
    return element('li', {}, element('button', { type: 'button', title: line.id, onclick: () => this.open(number) },
      element('span', { class: 'name' }, line.id), right ?? '', element('span', { class: 'sub' }, parts.join(' · '))))
  }

  refresh(number) {
    const old = this.rows.get(number)
    if (old) {
      const made = this.row(number)
      old.replaceWith(made)
      this.rows.set(number, made)
    }
    this.mark(false)
    this.showProgress()
  }

  mark(scroll = true) {
    const now = this.session.now?.number
    for (const [number, row] of this.rows) {
      if (number === now) row.firstChild.setAttribute('aria-current', 'true')
      else row.firstChild.removeAttribute('aria-current')
    }
    if (scroll) this.rows.get(now)?.scrollIntoView({ block: 'nearest' })
  }

  showProgress() {
    const done = this.session.lines.filter((line) => line.accepted !== null).length
    const all = this.session.lines.length
    byId('progress').textContent = `${done} of ${all} accepted`
      + (this.shown.length < all ? ` · ${this.shown.length} shown` : '')
    const { adapt } = this.session.study
    byId('adapt').hidden = !adapt || done < adapt.from
    if (adapt) byId('adapt-command').textContent = adapt.command
  }

  // The case `way` places further in the list that is shown, or null at its end.
  beside(way) {
    const now = this.session.now?.number
    const at = this.shown.indexOf(now)
    if (at < 0) return this.shown[0] ?? null
    return this.shown[at + way] ?? null
  }
}

export function fill(select, options) {
  select.replaceChildren(...options.map(([value, text]) => element('option', { value }, text)))
}
