// The state of the page: the study, the open case, the chosen landmark, and every change on its way to the server.

import * as api from './api.js'

const same = (a, b) => JSON.stringify(bare(a)) === JSON.stringify(bare(b))
const bare = (placement) => (placement ? { state: placement.state, point: placement.point } : null)

export class Session extends EventTarget {
  constructor(study) {
    super()
    this.study = study
    this.lines = study.cases // a line for each case, by number
    this.now = null // the open case, as sent by the server, with the changes on their way to it
    this.chosen = 0
    this.steps = new Map() // number -> {undo: [], redo: []}
    this.revisions = new Map(this.lines.map((line, number) => [number, line.revision]))
    this.queue = Promise.resolve()
    this.waiting = 0
    this.lastSaved = null
    this.trouble = ''
  }

  tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }))
  }

  // What is shown of a landmark: the reviewer's placement, else the reference's, else the model's.
  value(k) {
    const { mine, reference, model } = this.now.landmarks[k]
    if (mine) return { ...mine, from: 'mine' }
    if (reference) return { ...reference, from: 'reference' }
    if (model) return { ...model, from: 'model' }
    return { state: 'not annotated', point: [], from: 'none' }
  }

  open(told) {
    this.now = told
    this.revisions.set(told.number, told.review.revision)
    const empty = told.landmarks.findIndex((_, k) => this.value(k).state === 'not annotated')
    this.chosen = Math.min(this.chosen, told.landmarks.length - 1)
    if (this.lines[told.number].states.split('').every((s) => s === '-') && empty >= 0) this.chosen = empty
    this.tell('opened')
    this.tell('changed')
  }

  choose(k, go = true) {
    this.chosen = k
    this.tell('chosen', { go })
  }

  // Change the open case: `set` is {name: placement or null}. The page shows it at once; the server gets it in turn.
  change({ set = {}, accepted, note }, what, step = 'undo') {
    const number = this.now.number
    const before = { set: {}, accepted: this.now.review.accepted !== null, note: this.now.review.note }
    for (const mark of this.now.landmarks) if (mark.name in set) before.set[mark.name] = mark.mine
    const steps = this.stepsOf(number)
    const back = { set: before.set }
    if (accepted !== undefined || (Object.keys(set).length && before.accepted)) back.accepted = before.accepted
    if (note !== undefined) back.note = before.note
    // editing a note is one step, however often it was saved meanwhile
    const noted = what === 'note' && step === 'undo' && steps.undo.at(-1)?.what === 'note'
    if (!noted) steps[step].push({ change: back, what })
    this.apply({ set, accepted, note })
    this.send(number, { set, accepted, note }, before.set)
    return what
  }

  act(change, what) {
    this.stepsOf(this.now.number).redo.length = 0
    this.change(change, what)
  }

  undo() {
    return this.again('undo', 'redo')
  }

  redo() {
    return this.again('redo', 'undo')
  }

  again(from, to) {
    const last = this.stepsOf(this.now.number)[from].pop()
    if (!last) return null
    this.change(last.change, last.what, to)
    return last.what
  }

  stepsOf(number) {
    if (!this.steps.has(number)) this.steps.set(number, { undo: [], redo: [] })
    return this.steps.get(number)
  }

  apply({ set, accepted, note }) {
    for (const mark of this.now.landmarks) if (mark.name in set) mark.mine = set[mark.name]
    const review = this.now.review
    if (Object.keys(set).length) review.accepted = null
    if (accepted !== undefined) review.accepted = accepted ? new Date().toISOString() : null
    if (note !== undefined) review.note = note
    this.tell('changed')
  }

  send(number, change, before) {
    this.waiting += 1
    this.tell('saving')
    this.queue = this.queue.then(() => this.deliver(number, change, before)).finally(() => {
      this.waiting -= 1
      this.tell('saving')
    })
  }

  // Send one change, and retry until the server answers; an outdated one becomes a conflict for the user.
  async deliver(number, change, before) {
    for (;;) {
      try {
        this.take(number, await api.change(number, { base: this.revisions.get(number), ...change }))
        this.trouble = ''
        this.lastSaved = new Date()
        return
      } catch (error) {
        if (error.status === 409) {
          const theirs = error.body.review
          const touched = Object.keys(change.set).filter((name) => !same(theirs.placements[name], before[name]))
          const fought = touched.filter((name) => !same(theirs.placements[name], change.set[name]))
          this.revisions.set(number, theirs.revision)
          if (fought.length) {
            const mine = await new Promise((settle) => this.tell('conflict', { number, fought, change, theirs, settle }))
            if (!mine) {
              this.take(number, error.body, true)
              return
            }
          }
          continue
        }
        if (error.status === 422 || error.status === 404) {
          this.trouble = error.message
          this.tell('refused', error.message)
          return
        }
        this.trouble = error.status ? error.message : 'no connection to the server'
        this.tell('saving')
        await new Promise((wake) => setTimeout(wake, 1500))
      }
    }
  }

  // The server's answer to a change. The open case is updated once no further change is on its way.
  take(number, { review, line, behind }, force = false) {
    this.revisions.set(number, review.revision)
    this.lines[number] = line
    this.behind = behind
    if (this.now.number === number && (force || this.waiting <= 1)) {
      this.now.review = review
      for (const mark of this.now.landmarks) mark.mine = review.placements[mark.name] ?? null
      this.tell('changed')
    }
    this.tell('line', number)
  }

  learn(number, told) {
    if (told.line) this.lines[number] = told.line
    if (this.now.number === number) {
      this.now.landmarks.forEach((mark, k) => (mark.model = told.landmarks[k].model))
      this.tell('changed')
    }
    this.tell('line', number)
  }
}
